"""The words of the topics, as data: areas, names in two languages and spellings as a hashtag."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Area:
    """Four topics; the two kinds are what a platform's own classifier calls them."""

    name: str
    kinds: tuple[str, str]


@dataclass(frozen=True, slots=True)
class TopicRow:
    """One topic as written here: words are `captions and comments only | main | shared | query | comments only | three sub-topics`."""

    name: str
    kind: int
    zh: str
    en: str
    spellings: str  # the two main ones, then traditional characters, case, synonyms, typos


AREAS = (
    Area("数码", ("影像", "外设")),
    Area("美食", ("正餐", "甜饮")),
    Area("运动", ("极限", "球类水上")),
    Area("萌宠", ("毛绒", "鱼鸟")),
    Area("手工", ("泥木", "纸线")),
    Area("户外", ("山野", "园艺垂钓")),
)

TOPICS = (
    TopicRow(
        "camera",
        0,
        "摄影器材 | 相机 | 镜头 | 微单 | 单反 | 胶片 | 广角 | 长焦",
        "shutter | camera | lens | mirrorless | dslr | film roll | wide angle | telephoto",
        "相机 camera 相機 Camera 微单 mirrorless 像机 camrea",
    ),
    TopicRow(
        "drone",
        0,
        "飞手 | 无人机 | 航拍 | 四旋翼 | 穿越机 | 悬停 | 云台 | 桨叶",
        "quadcopter | drone | aerial | uav | fpv | hovering | gimbal | propeller",
        "无人机 drone 無人機 DRONE 航拍 uav 无人鸡 dorne",
    ),
    TopicRow(
        "keyboard",
        1,
        "键帽 | 机械键盘 | 轴体 | 客制化 | 敲击声 | 青轴 | 茶轴 | 矮轴",
        "keycaps | keyboard | switches | mechanical keys | typing sound | blue switch | brown switch | low profile",
        "机械键盘 keyboard 機械鍵盤 Keyboard 客制化 keybord",
    ),
    TopicRow(
        "headphones",
        1,
        "耳麦 | 耳机 | 降噪 | 头戴式 | 音质 | 蓝牙 | 入耳 | 骨传导",
        "headset | headphones | noise cancelling | earbuds | sound quality | bluetooth | in ear | bone conduction",
        "耳机 headphones 耳機 Headphones earbuds 耳几 headfones",
    ),
    TopicRow(
        "ramen",
        0,
        "豚骨 | 拉面 | 面条 | 汤面 | 溏心蛋 | 味噌 | 酱油 | 担担",
        "tonkotsu | ramen | noodles | broth | soft egg | miso | shoyu | tantan",
        "拉面 ramen 拉麵 RAMEN 汤面 noodles 拉緬",
    ),
    TopicRow(
        "cake",
        1,
        "裱花 | 蛋糕 | 奶油 | 烘焙 | 戚风 | 草莓 | 巧克力 | 芝士",
        "frosting | cake | cream | baking | sponge | strawberry | chocolate | cheesecake",
        "蛋糕 cake Cake 烘焙 baking 旦糕",
    ),
    TopicRow(
        "barbecue",
        0,
        "炭火 | 烧烤 | 烤串 | 撸串 | 烤肉 | 羊肉 | 鸡翅 | 茄子",
        "charcoal | barbecue | skewers | bbq | grilled meat | lamb | chicken wings | eggplant",
        "烧烤 bbq 燒烤 BBQ barbecue 撸串 barbeque 烧考",
    ),
    TopicRow(
        "coffee",
        1,
        "手冲 | 咖啡 | 拿铁 | 意式 | 浓缩 | 拉花 | 冷萃 | 摩卡",
        "pour over | coffee | latte | espresso | beans | latte art | cold brew | mocha",
        "咖啡 coffee Coffee 拿铁 咖非 cofee",
    ),
    TopicRow(
        "skateboard",
        0,
        "板仔 | 滑板 | 豚跳 | 长板 | 碗池 | 翻板 | 速降 | 街式",
        "skater | skateboard | ollie | longboard | skatepark | kickflip | downhill | street style",
        "滑板 skateboard Skateboard 长板 skateboarding skatebord",
    ),
    TopicRow(
        "basketball",
        1,
        "球场 | 篮球 | 扣篮 | 三分 | 运球 | 突破 | 盖帽 | 罚球",
        "hoop | basketball | dunk | three pointer | dribble | crossover | block shot | free throw",
        "篮球 basketball 籃球 Basketball 扣篮 dunk 蓝球 baskteball",
    ),
    TopicRow(
        "parkour",
        0,
        "翻越 | 跑酷 | 空翻 | 极限跑 | 飞跃 | 攀墙 | 落地 | 跳跃",
        "vaulting | parkour | backflip | freerunning | rooftop | wall climb | landing roll | gap jump",
        "跑酷 parkour Parkour freerunning 跑库 parkor",
    ),
    TopicRow(
        "surfing",
        1,
        "浪点 | 冲浪 | 海浪 | 浪板 | 追浪 | 划水 | 桨板 | 起乘",
        "swell | surfing | waves | surfboard | barrel | paddling | paddle board | take off",
        "冲浪 surfing 衝浪 Surfing surf 冲狼",
    ),
    TopicRow(
        "cat",
        0,
        "毛孩子 | 猫咪 | 小猫 | 喵星人 | 铲屎官 | 布偶 | 橘猫 | 英短",
        "purring | cat | kitten | kitty | meow | ragdoll | orange tabby | british shorthair",
        "猫咪 cat 貓咪 Cat 喵星人 kitten 猫眯",
    ),
    TopicRow(
        "aquarium",
        1,
        "缸友 | 水族 | 鱼缸 | 热带鱼 | 水草 | 孔雀鱼 | 金鱼 | 斗鱼",
        "fishkeeping | aquarium | fish tank | tropical fish | aquascape | guppy | goldfish | betta",
        "水族 aquarium Aquarium 鱼缸 魚缸 fishtank aquariam",
    ),
    TopicRow(
        "parrot",
        1,
        "羽毛 | 鹦鹉 | 学舌 | 虎皮 | 鸟笼 | 金刚 | 玄凤 | 牡丹",
        "feathers | parrot | talking bird | budgie | birdcage | macaw | cockatiel | lovebird",
        "鹦鹉 parrot 鸚鵡 Parrot budgie 英武 parott",
    ),
    TopicRow(
        "hamster",
        0,
        "跑轮 | 仓鼠 | 鼠鼠 | 金丝熊 | 木屑 | 囤粮 | 鼠笼 | 侏儒",
        "running wheel | hamster | tiny rodent | syrian | bedding | hoarding | cage setup | dwarf",
        "仓鼠 hamster 倉鼠 Hamster 金丝熊 hamsters 苍鼠",
    ),
    TopicRow(
        "pottery",
        0,
        "拉坯 | 陶艺 | 陶瓷 | 泥巴 | 窑烧 | 茶杯 | 花瓶 | 釉料",
        "throwing clay | pottery | ceramics | wheel throwing | kiln | teacup | vase | glaze",
        "陶艺 pottery 陶藝 Pottery 陶瓷 ceramics 淘艺",
    ),
    TopicRow(
        "origami",
        1,
        "纸艺 | 折纸 | 千纸鹤 | 折法 | 彩纸 | 纸船 | 纸飞机 | 纸玫瑰",
        "paper art | origami | paper crane | paper folding | colored paper | paper boat | paper plane | paper rose",
        "折纸 origami 摺紙 Origami 千纸鹤 papercraft 折只",
    ),
    TopicRow(
        "knitting",
        1,
        "毛线 | 编织 | 钩针 | 织毛衣 | 棒针 | 围巾 | 帽子 | 玩偶",
        "yarn | knitting | crochet | sweater | needles | scarf | beanie | amigurumi",
        "编织 knitting 編織 Knitting 钩针 crochet 编制 kniting",
    ),
    TopicRow(
        "woodwork",
        0,
        "榫卯 | 木工 | 刨子 | 木作 | 实木 | 椅子 | 勺子 | 书架",
        "joinery | woodworking | chisel | carpentry | timber | chair | spoon | bookshelf",
        "木工 woodworking Woodworking 木作 carpentry",
    ),
    TopicRow(
        "camping",
        0,
        "营地 | 露营 | 帐篷 | 天幕 | 篝火 | 吊床 | 睡袋 | 炉具",
        "campsite | camping | tent | tarp | campfire | hammock | sleeping bag | camp stove",
        "露营 camping 露營 Camping 帐篷 glamping 露莹",
    ),
    TopicRow(
        "fishing",
        1,
        "钓友 | 钓鱼 | 路亚 | 鱼竿 | 野钓 | 鲫鱼 | 鲈鱼 | 夜钓",
        "angler | fishing | lure | fishing rod | freshwater | carp | bass | night fishing",
        "钓鱼 fishing 釣魚 Fishing 路亚 angling 钧鱼",
    ),
    TopicRow(
        "succulents",
        1,
        "肉友 | 多肉 | 叶插 | 仙人掌 | 盆栽 | 生石花 | 玉露 | 芦荟",
        "leaf propagation | succulents | cactus | potted plants | echeveria | lithops | haworthia | aloe",
        "多肉 succulents Succulents 仙人掌 succulent sucullents",
    ),
    TopicRow(
        "hiking",
        0,
        "山友 | 徒步 | 登山 | 爬山 | 山顶 | 雪线 | 古道 | 垭口",
        "trailhead | hiking | trail | trekking | summit | snow line | ridge | mountain pass",
        "徒步 hiking Hiking 登山 trekking 徙步 hikng",
    ),
)
