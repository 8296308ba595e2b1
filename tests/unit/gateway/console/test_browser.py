"""A real gateway process in a real browser: sign in, look, ask, in light and dark, narrow and without scripts."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from reelspace.core.local_store import LocalStore
from reelspace.core.processes import child, stop

from ....browser import Browser, browsing, program
from ...search.access.serving import connect_to, serving
from ...search.access.worlds import Constant
from ...search.oracle_shard import OracleBackend
from ..guarded import KeysFile
from .worlds import MODELS, SPACE, TRITON_GRPC, media_server, promote

pytestmark = pytest.mark.skipif(program() is None, reason="there is no browser: apt-get install --no-install-recommends chromium")
PICTURE = "data:image/gif;base64,R0lGODlhAQABAIAAAP8AAP///yH5BAAAAAAALAAAAAABAAEAAAICRAEAOw=="
HITS = "[...document.querySelectorAll('#results tbody tr')].map((row) => row.querySelector('button').innerText)"


@dataclass
class Served:
    """A gateway process, and its key."""

    url: str
    key: str

    def put(self, *ids: int) -> None:
        points = [{"id": id, "vector": [id, 1], "payload": {"title": f"<i>work</i> {id}", "thumbnail": PICTURE}} for id in ids]
        answer = httpx.put(f"{self.url}/collections/works/points?wait=true", json={"points": points}, headers={"api-key": self.key})
        assert answer.status_code == 200, answer.text


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    directory = tmp_path_factory.mktemp("browser")
    keys = KeysFile(directory / "keys.json")
    keys.add("all")
    keys.write()
    command = [sys.executable, "-m", "reelspace.gateway", "--store", str(directory / "store"), "--backend", "local", "--port", "0"]
    process = child([*command, "--keys-file", str(keys.path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        one = Served(json.loads(process.stdout.readline())["url"], keys.secrets["all"])
        made = {"vectors": {"size": 2, "distance": "Dot"}, "shard_number": 2}
        assert httpx.put(f"{one.url}/collections/works", json=made, headers={"api-key": one.key}).status_code == 200
        one.put(*range(8))
        yield one
    finally:
        stop(process)
        process.stdout.close()


@pytest.fixture
def browser() -> Iterator[Browser]:
    with browsing() as one:
        one.show(1200, 900)
        yield one


def sign_in(browser: Browser, served: Served) -> None:
    browser.open(f"{served.url}/console")
    browser.wait_for("location.pathname === '/console/sign-in'")
    browser.run(f"document.querySelector('[name=key]').value = {json.dumps(served.key)}; document.querySelector('button').click()")
    browser.wait_for("location.pathname === '/console' && document.getElementById('status') !== null")


def ask(browser: Browser, id: int) -> None:
    browser.run(f"document.querySelector('.asking [name=id]').value = '{id}'; document.querySelector('.asking button').click()")
    browser.wait_for(f"document.querySelector('#results button')?.innerText === '{id}'")


def test_a_key_opens_the_console_and_an_id_finds_what_is_like_it(browser: Browser, served: Served) -> None:
    sign_in(browser, served)
    browser.run("window.isSamePage = true")
    ask(browser, 3)
    assert browser.run(HITS) == ["3", "7", "6", "5", "4", "2", "1", "0"]
    assert "<i>work</i> 7" in browser.run("document.getElementById('results').innerText")
    assert browser.run("document.querySelectorAll('#results img').length") == 8
    assert browser.run("[...document.images].every((one) => one.naturalWidth === 1)")
    browser.run("document.querySelectorAll('#results button')[1].click()")
    browser.wait_for("document.querySelector('#results button').innerText === '7'")
    assert browser.run("window.isSamePage") is True, "the script asked, and the page stayed"
    assert browser.run("document.cookie") == "", "no script sees the session"
    assert browser.run("performance.getEntriesByType('resource').every((one) => new URL(one.name).origin === location.origin)")


def test_the_state_is_shown_anew_with_the_focus_where_it_was(browser: Browser, served: Served) -> None:
    sign_in(browser, served)
    browser.run("document.querySelector('#status a').focus(); document.getElementById('status').dataset.old = true")
    served.put(900)
    browser.wait_for("!('old' in document.getElementById('status').dataset)")
    browser.wait_for("document.querySelectorAll('#status td')[1].innerText === '9'")
    assert browser.run("document.activeElement.innerText") == "works"
    assert browser.run("document.getElementById('lost').hidden")


def test_it_all_works_without_scripts(browser: Browser, served: Served) -> None:
    browser.disable_scripts()
    sign_in(browser, served)
    ask(browser, 5)
    assert browser.run(HITS)[0] == "5"
    assert browser.run("location.pathname") == "/console/query"
    browser.run("document.querySelector('header button').click()")
    browser.wait_for("location.pathname === '/console/sign-in'")


def test_a_file_is_uploaded_and_words_are_asked(browser: Browser, tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    promote(store)
    backend, encoders, file = OracleBackend(store), {"text_encoder": Constant(-1, 0)}, tmp_path / "clip.mp4"
    file.write_bytes(bytes(range(256)) * 2_000)
    with (
        media_server(SPACE) as triton,
        serving(store, connect_to(backend, encoders), MODELS, triton_grpc=TRITON_GRPC, triton_http=triton) as url,
    ):
        points = [{"id": id, "vector": [id, 1]} for id in range(5)]
        assert httpx.put(f"{url}/collections/videos/points?wait=true", json={"points": points}).status_code == 200
        browser.open(f"{url}/console?collection=videos")
        browser.choose_file("[name=clip]", file)
        browser.run("document.querySelectorAll('.asking button')[2].click()")
        browser.wait_for("document.querySelectorAll('#results tbody tr').length === 5")
        assert browser.run("document.querySelector('#results tbody').innerText").split()[1] == f"{4 * file.stat().st_size + 1:.4f}"
        browser.run("document.querySelectorAll('.asking [name=words]')[0].value = 'ramen'")
        browser.run("document.querySelectorAll('.asking button')[1].click()")
        browser.wait_for("document.querySelector('#results button').innerText === '0'")


@pytest.mark.parametrize("dark", [False, True])
def test_nothing_is_wider_than_a_phone_and_text_stands_out_in_light_and_dark(browser: Browser, served: Served, dark: bool) -> None:
    browser.show(390, 844, dark=dark)
    sign_in(browser, served)
    ask(browser, 3)
    assert browser.run("document.documentElement.scrollWidth") <= 390
    assert browser.run("[...document.querySelectorAll('section, form, dl')].every((one) => one.getBoundingClientRect().right <= 390)")
    assert browser.run(CONTRASTS) >= 4.5


# The least contrast of a text with what it stands on, of those of the page. Source: WCAG 2.1, section 1.4.3.
CONTRASTS = """(() => {
  const parts = (color) => color.match(/[\\d.]+/g).map(Number);
  const light = (color) => parts(color).slice(0, 3)
    .map((one) => one / 255).map((one) => one <= 0.03928 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4)
    .reduce((sum, one, place) => sum + one * [0.2126, 0.7152, 0.0722][place], 0);
  const ground = (one) => {
    while (one) {
      const color = getComputedStyle(one).backgroundColor;
      if ((parts(color)[3] ?? 1) === 1) return color;
      one = one.parentElement;
    }
  };
  const hasText = (one) => one.offsetParent && [...one.childNodes].some((node) => node.nodeType === 3);
  const texts = [...document.body.querySelectorAll("*")].filter(hasText);
  return Math.min(...texts.map((one) => {
    const [a, b] = [light(getComputedStyle(one).color), light(ground(one))];
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  }));
})()"""
