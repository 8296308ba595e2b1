"""Tiny CLIP-family checkpoints of random weights in Hugging Face layout, as the tests of public encoders read them."""

import json
from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer as Engine
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer

SIZE, DIMENSION, LENGTH = 32, 24, 16
WORDS = ["a red cat on a small table", "the best camera of the year", "cooking noodles with an egg", "cats and cameras"]
SHAPE = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48}


def write_preprocessing(folder: Path, **values: object) -> None:
    facts = {
        "size": {"shortest_edge": SIZE},
        "crop_size": {"height": SIZE, "width": SIZE},
        "resample": 3,
        "image_mean": [0.48, 0.46, 0.41],
        "image_std": [0.27, 0.26, 0.28],
        "image_processor_type": "CLIPImageProcessor",
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(facts | values))


def write_clip(folder: Path) -> torch.nn.Module:
    """Write a tiny checkpoint of random weights with a byte-level BPE vocabulary; give the library's model of it."""
    folder.mkdir(exist_ok=True)
    engine = Engine(BPE(end_of_word_suffix="</w>"))
    engine.pre_tokenizer = ByteLevel(add_prefix_space=False)
    ends = ["<|startoftext|>", "<|endoftext|>"]
    trainer = BpeTrainer(vocab_size=700, initial_alphabet=ByteLevel.alphabet(), end_of_word_suffix="</w>", show_progress=False)
    engine.train_from_iterator(WORDS * 4, trainer)
    model = json.loads(engine.to_str())["model"]
    vocabulary = {token: row for row, token in enumerate([*model["vocab"], *ends])}
    transformers.CLIPTokenizer(vocab=vocabulary, merges=[tuple(merge) for merge in model["merges"]]).save_pretrained(folder)
    begin, end = (vocabulary[token] for token in ends)
    text = SHAPE | {"vocab_size": len(vocabulary), "max_position_embeddings": LENGTH, "bos_token_id": begin, "eos_token_id": end}
    vision = SHAPE | {"image_size": SIZE, "patch_size": 8}
    config = transformers.CLIPConfig(text_config=text | {"pad_token_id": end}, vision_config=vision, projection_dim=DIMENSION)
    write_preprocessing(folder)
    return drawn(transformers.CLIPModel(config), folder)


def write_chinese_clip(folder: Path) -> torch.nn.Module:
    """Write a tiny checkpoint of the Chinese variant: WordPiece vocabulary, text read at its beginning."""
    folder.mkdir(exist_ok=True)
    tokens = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *"猫狗相机红色吃面蛋的",
        "cat",
        "##s",
        "camera",
        "a",
        "red",
        "egg",
        "!",
        *(f"word{row}" for row in range(64)),
    ]
    (folder / "vocab.txt").write_text("\n".join(tokens))
    config = transformers.ChineseCLIPConfig(
        text_config=SHAPE | {"vocab_size": len(tokens), "max_position_embeddings": LENGTH},
        vision_config=SHAPE | {"image_size": SIZE, "patch_size": 8},
        projection_dim=DIMENSION,
    )
    write_preprocessing(
        folder, size={"height": SIZE, "width": SIZE}, do_center_crop=False, image_processor_type="ChineseCLIPImageProcessor"
    )
    return drawn(transformers.ChineseCLIPModel(config), folder)


def drawn(model: torch.nn.Module, folder: Path) -> torch.nn.Module:
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(folder)
    return model.eval()
