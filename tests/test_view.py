"""`mvc view`: what is served, to whom, and what a browser makes of it."""

from __future__ import annotations

import http.client
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import BROWSER, Browser
from command import fails, run
from pages import Page
from PIL import Image
from test_looks import installed  # noqa: F401  a fixture
from test_videos import example, video
from tiny_model import picture, tiny_codec

import mvc
import mvc.codec
from mvc.analysis.bitmap import CELL_PX, bit_map
from mvc.arguments import LOOKS, SCALES
from mvc.cli.info import lines_of
from mvc.container import read_file
from mvc.metadata import Metadata
from mvc.opening import reader_of
from mvc.picture import Picture
from mvc.stored import Stored
from mvc.view import facts, pictures
from mvc.view.library import Library
from mvc.view.pictures import Pictures
from mvc.view.routes import DAMAGED, Routes
from mvc.view.server import Server
from mvc.view.worker import NotWanted, Worker

ROOT = Path(mvc.__file__).parent.parent
RNG = np.random.default_rng(8)
NAMES = ("alpha", "broken", "clip", "damaged", "gray", "network", "tiles")


def samples_of(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of each kind."""
    made, codec = tmp_path_factory.mktemp("view"), tiny_codec()
    tiles = codec.encode(picture(520, 600), 30, effort=0, tile_px=256)
    alpha = RNG.integers(0, 256, (40, 60, 4), np.uint8)
    files = {
        "alpha": mvc.encode(Picture(alpha[..., :3].copy(), alpha[..., 3].copy(), Metadata(xmp=b"<x/>")), lossless=True),
        "broken": tiles[:9],
        "clip": example()[0],
        "damaged": tiles[:-40] + bytes([tiles[-40] ^ 1]) + tiles[-39:],
        "gray": mvc.encode(picture(300, 400, gray=True), lossless=True, thumbnail=True),
        "network": codec.encode(picture(70, 90), 20, effort=0),
        "tiles": tiles,
    }
    for name, data in files.items():
        (made / f"{name}.mvc").write_bytes(data)
    return made


def load(model_id: bytes) -> Any:
    return tiny_codec() if model_id == tiny_codec().model_id else video()


def routes_of(folder: Path, told: Callable[[BaseException], None] = lambda error: None, **limits: int) -> Routes:
    found = [(str(folder / f"{name}.mvc"), f"{name}.mvc") for name in NAMES]
    library = Library(found, lambda path: reader_of(Stored(path), load))
    return Routes(library, Pictures(library, load, **limits), lines_of, told=told)


@contextmanager
def served(routes: Routes) -> Iterator[Server]:
    made = Server(routes)
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield made
    finally:
        made.shutdown()
        thread.join()
        made.server_close()


@pytest.fixture
def server(folder: Path) -> Iterator[Server]:
    with served(routes_of(folder)) as made:
        yield made


def ask(
    server: Server, path: str, method: str = "GET", headers: dict[str, str] | None = None
) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    try:
        connection.request(method, path, headers=headers or {})
        answer = connection.getresponse()
        return answer, answer.read()
    finally:
        connection.close()


def path_of(name: str, rest: str = "") -> str:
    return f"files/{NAMES.index(name)}{rest}"


# who is answered ------------------------------------------------------------------------------------------------


def test_only_this_machine_is_served_and_only_with_the_token(server: Server) -> None:
    assert server.server_address[0] == "127.0.0.1" and len(server.token) >= 20
    page, _ = ask(server, f"/{server.token}/")
    assert page.status == 200 and page.headers["Content-Type"] == "text/html; charset=utf-8"
    policy = page.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'") and "unsafe" not in policy and "frame-ancestors 'none'" in policy
    assert page.headers["X-Content-Type-Options"] == "nosniff" and page.headers["Cache-Control"] == "no-store"
    assert "Python" not in page.headers["Server"] and "Access-Control-Allow-Origin" not in page.headers
    own = f"/{server.token}"
    for wrong in ("/", "/files", own, f"{own}x/", f"/{'a' * len(server.token)}/", "//", "/%C3%A9/"):
        answer, _ = ask(server, wrong)
        assert answer.status == 404, wrong


def test_other_names_of_the_host_are_refused(server: Server) -> None:
    page = f"/{server.token}/"
    for host in ("localhost", f"LOCALHOST:{server.server_port}", "127.0.0.1:9999", "[::1]:80"):
        assert ask(server, page, headers={"Host": host})[0].status == 200, host
    for host in ("evil.example", f"evil.example:{server.server_port}", "127.0.0.1.evil.example", "localhost@evil", ""):
        assert ask(server, page, headers={"Host": host})[0].status == 421, host
    for site in ("cross-site", "same-site"):
        headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "no-cors"}
        assert ask(server, page, headers=headers)[0].status == 403
        assert ask(server, page, headers={**headers, "Sec-Fetch-Mode": "navigate"})[0].status == 200  # a link


def test_what_else_may_come(server: Server) -> None:
    token = server.token
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "BREW"):
        answer, body = ask(server, f"/{token}/files", method)
        assert answer.status == 501 and "error" in json.loads(body)
    head, body = ask(server, f"/{token}/files", "HEAD")
    assert head.status == 200 and body == b"" and int(head.headers["Content-Length"]) > 50
    assert ask(server, f"/{token}/files", headers={"Content-Length": "4"})[0].status == 400
    paths = ["files/7", "files/-1", "files/00x", "files/0/../1", "files/9999999999", "files/0/blocks/1/0/0/0", "page/"]
    paths += ["page/../server.py", "page/%2e%2e/server.py", "page/__init__.py"]
    paths += ["files/0/blocks/1/0/0/0/0/faithful", "files/0/blocks/1/0/0/0/odd"]
    places = ("1/1/0/0", "1/0/1/0", "3/0/0/0", "0/0/0/0", "32/0/0/0")
    paths += ["/etc/passwd", *(path_of("network", f"/blocks/{place}/faithful") for place in places)]
    for path in paths:
        answer, body = ask(server, f"/{token}/{path}")
        assert answer.status in (404, 422) and "error" in json.loads(body), path
    with socket.create_connection(("127.0.0.1", server.server_port)) as raw:
        raw.sendall(b"nonsense\r\n\r\n")
        assert b"error" in raw.recv(10_000)
    assert ask(server, f"/{token}/files")[0].status == 200  # and all of that ended nothing


# what is answered -----------------------------------------------------------------------------------------------


def test_the_page_names_nothing_outside_of_itself(folder: Path) -> None:
    routes = routes_of(folder)
    text = routes.answer([""]).body.decode()
    found = Page(text.replace("<link ", "<meta "))
    assert not any("style" in each or any(name.startswith("on") for name in each) for _, each in found.tags)
    for own in sorted((ROOT / "mvc" / "view" / "page").iterdir()):
        content = own.read_text()
        assert "https://" not in content and "http://" not in content.replace("http://www.w3.org/", "")
        assert "innerHTML" not in content and "eval(" not in content
        assert routes.answer(["page", own.name]).status == 200
    for _, each in found.tags:
        for name in ("src", "href"):
            assert (each.get(name) or "page/").startswith("page/")


def test_the_list_and_what_files_say(folder: Path) -> None:
    routes = routes_of(folder)
    listed = json.loads(routes.answer(["files"]).body)
    assert listed["files"] == [f"{name}.mvc" for name in NAMES]
    assert listed["blocks"].keys() == {str(scale) for scale in SCALES}

    def told(name: str) -> dict[str, Any]:
        answer = routes.answer(path_of(name).split("/"))
        assert answer.status == 200
        found: dict[str, Any] = json.loads(answer.body)
        return found

    network = told("network")
    assert (network["kind"], network["width"], network["height"], network["damaged"]) == ("still", 90, 70, None)
    assert "90x70" in network["badges"] and "quality 3.2" in network["badges"]
    rows = {name: value for _, rows in network["groups"] for name, value in rows}
    assert rows["Quality"] == "3.22 of 8 (index 20)" and rows["Coder"] == "network" and rows["Checksum"] == "right"
    assert network["lines"] == lines_of("", mvc.info(folder / "network.mvc"))[1:]
    alpha = told("alpha")
    assert alpha["alpha"] and "lossless" in alpha["badges"] and ["Metadata", [["XMP", "4 bytes"]]] in alpha["groups"]
    clip = told("clip")
    assert clip["clip"]["count"] == len(clip["clip"]["bytes"]) and clip["clip"]["keys"][0] == 0
    assert clip["clip"]["times"] == sorted(clip["clip"]["times"])
    assert told("damaged")["damaged"]
    broken = routes.answer(path_of("broken").split("/"))
    assert broken.status == 422 and json.loads(broken.body)["error"]


def test_exif_for_people() -> None:
    tags = Image.Exif()
    tags[271], tags[272] = "Nikon\n", "D70\0"
    inside = tags.get_ifd(0x8769)
    inside[33434], inside[33437], inside[37386] = 0.004, 2.8, 50
    rows = dict(facts.photograph(tags.tobytes().removeprefix(b"Exif\0\0")))
    taken = {"Exposure": "1/250 s", "Aperture": "f/2.8", "Focal length": "50 mm"}
    assert rows == {"Make": "Nikon", "Model": "D70", **taken}
    assert facts.photograph(b"II*\0\xff\xff\xff\xff") == facts.photograph(b"no") == facts.photograph(None) == []


@pytest.mark.parametrize(("name", "divisor"), [("network", 1), ("network", 4), ("alpha", 1), ("gray", 2), ("tiles", 2)])
def test_blocks_are_parts_of_the_picture(folder: Path, name: str, divisor: int) -> None:
    answer = routes_of(folder).answer(path_of(name, f"/blocks/{divisor}/0/0/0/faithful").split("/"))
    assert answer.status == 200 and answer.type == "image/png" and DAMAGED not in answer.headers
    with reader_of(Stored(folder / f"{name}.mvc"), load) as file:
        assert file.kind == "still"
        wanted = np.asarray(file.read(scale=f"1/{divisor}"))
    assert np.array_equal(samples_of(answer.body), wanted)


@pytest.mark.parametrize("tile_px", [None, 256])
def test_a_look_is_chosen_by_its_name(tmp_path: Path, installed: Path, tile_px: int | None) -> None:  # noqa: F811
    path = tmp_path / "a.mvc"
    own = mvc.codec.load(str(installed))
    path.write_bytes(own.encode(picture(300, 280), 20, effort=0, tile_px=tile_px))
    library = Library([(str(path), "a")], lambda path: reader_of(Stored(path), lambda _: own))
    made = Pictures(library, lambda _: own)
    shown = [samples_of(made.block(0, divisor, 0, 0, 0, look)[0]) for divisor in (1, 2) for look in LOOKS]
    with reader_of(Stored(path), lambda _: own) as file:
        assert file.kind == "still"
        wanted = [np.asarray(file.read(scale=f"1/{divisor}", look=look)) for divisor in (1, 2) for look in LOOKS]
    for one, other in zip(shown, wanted, strict=True):
        assert np.abs(one.astype(int) - other).max() <= 1  # of a region a sample may be off by 1
    assert (wanted[0] != wanted[1]).any() and (shown[0] != shown[1]).any()
    assert np.array_equal(samples_of(made.block(0, 1, 0, 0)[0]), shown[0])


def test_which_looks_there_are(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "looks_of", lambda model_id: ("faithful", "natural"))
    routes = routes_of(folder)
    told = {name: json.loads(routes.answer(path_of(name).split("/")).body).get("looks") for name in NAMES}
    looks = ["faithful", "natural"]
    none: dict[str, Any] = {"alpha": [], "gray": [], "clip": [], "broken": None}
    assert told == {"network": looks, "tiles": looks, "damaged": looks, **none}
    answer = routes.answer(path_of("clip", "/blocks/1/0/0/0/natural").split("/"))
    assert answer.status == 422 and "no other look" in json.loads(answer.body)["error"]


def test_blocks_fit_together_and_are_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(pictures.BLOCK_PX, 1, 256)
    monkeypatch.setitem(pictures.BLOCK_PX, 2, 512)
    routes = routes_of(folder)

    def block(name: str, scale: int, column: int, row: int) -> np.ndarray:
        return samples_of(routes.answer(path_of(name, f"/blocks/{scale}/{column}/{row}/0/faithful").split("/")).body)

    for name, columns, rows in (("tiles", 3, 3), ("gray", 2, 2)):
        with reader_of(Stored(folder / f"{name}.mvc"), load) as file:
            assert file.kind == "still"
            wanted = file.read().samples.astype(int)
            small = file.read(scale="1/2").samples.astype(int)
        whole = np.concatenate([np.concatenate([block(name, 1, c, r) for c in range(columns)], 1) for r in range(rows)])
        assert np.abs(whole - wanted).max() <= 1  # of a region a sample may be off by 1
        assert np.abs(block(name, 2, 0, 0).astype(int) - small[:256, :256]).max() <= 1
    monkeypatch.setattr("mvc.picture_file.PictureFile.read", None)
    assert block("tiles", 1, 0, 0).shape == (256, 256, 3)  # it is there


def test_a_file_that_changes_is_read_again(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.mvc"
    library = Library([(str(path), "a")], lambda path: reader_of(Stored(path), load))
    own = Pictures(library, load)
    for value in (10, 200):
        path.write_bytes(mvc.encode(np.full((8, 9), value, np.uint8), lossless=True))
        os.utime(path, ns=(value, value))
        assert (samples_of(own.block(0, 1, 0, 0)[0]) == value).all()
    path.unlink()
    with pytest.raises(mvc.SourceError, match="no such file"):
        own.block(0, 1, 0, 0)


def test_what_is_left_of_a_damaged_file_is_shown(folder: Path) -> None:
    routes = routes_of(folder)
    answer = routes.answer(path_of("damaged", "/blocks/1/0/0/0/faithful").split("/"))
    assert answer.status == 200 and "checksum" in answer.headers[DAMAGED] and answer.headers[DAMAGED].isascii()
    assert samples_of(answer.body).shape == (520, 600, 3)
    assert routes.answer(path_of("damaged", "/thumbnail").split("/")).status == 200
    for rest in ("/thumbnail", "/bits", "/blocks/1/0/0/0/faithful"):
        assert routes.answer(path_of("broken", rest).split("/")).status == 422
    assert routes.answer(path_of("damaged", "/bits").split("/")).status == 422


def test_frames_of_clips(folder: Path) -> None:
    routes = routes_of(folder)
    with reader_of(Stored(folder / "clip.mvc"), load) as clip:
        assert clip.kind == "clip"
        wanted = [frame.to_picture().samples for frame in clip.frames()]
    for number in (0, 1, len(wanted) - 1, 2):
        answer = routes.answer(path_of("clip", f"/blocks/1/0/0/{number}/faithful").split("/"))
        assert np.array_equal(samples_of(answer.body), wanted[number])
    assert routes.answer(path_of("clip", f"/blocks/1/0/0/{len(wanted)}/faithful").split("/")).status == 404
    assert routes.answer(path_of("clip", "/bits").split("/")).status == 422
    assert routes.answer(path_of("clip", "/thumbnail").split("/")).status == 200


def test_limits_and_errors_are_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[BaseException] = []
    routes = routes_of(folder, told.append, max_pixels=100)
    for name in ("network", "clip"):
        answer = routes.answer(path_of(name, "/blocks/1/0/0/0/faithful").split("/"))
        assert answer.status == 422 and "at most 100" in json.loads(answer.body)["error"]
    monkeypatch.setattr(Pictures, "bits", lambda *_: 1 / 0)
    answer = routes.answer(path_of("network", "/bits").split("/"))
    assert answer.status == 500 and [type(error) for error in told] == [ZeroDivisionError]

    def missing(*_: object) -> None:
        raise mvc.BackendError("no torch", hint="get it")

    monkeypatch.setattr(Pictures, "block", missing)
    answer = routes.answer(path_of("network", "/blocks/1/0/0/0/faithful").split("/"))
    assert answer.status == 501 and json.loads(answer.body) == {"error": "no torch", "hint": "get it"}


# where the bits are ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["network", "tiles", "gray"])
def test_a_map_of_bits(folder: Path, name: str) -> None:
    data = (folder / f"{name}.mvc").read_bytes()
    _, units = read_file(data)
    made = bit_map(io.BytesIO(data), load)
    coded = 8 * sum(len(stream) for unit in units for stream in unit.streams)
    assert sum(bits for _, bits in made.tiles) == coded
    if name == "gray":
        assert made.cells is None and len(made.tiles) == 1
        return
    height, width = (70, 90) if name == "network" else (520, 600)
    assert made.cells is not None and made.cells.shape == (-(-height // CELL_PX), -(-width // CELL_PX))
    assert made.cells.min() > 0 and made.cells.std() > 0
    assert made.cells.sum() <= coded * 1.001  # ideal, and without what belongs to the padding
    assert made.cells.sum() >= 0.7 * coded


def test_the_map_of_what_was_decoded_is_that_of_what_was_coded() -> None:
    from mvc.analysis import record
    from mvc.analysis.allocation import hyper_bits, latent_bits, map_of

    codec, own = tiny_codec(), picture(128, 192)
    coded = record.record(codec, own, 30)
    tables = codec.network
    wanted = map_of(latent_bits(coded, tables.latent_tables), hyper_bits(coded, tables.hyper_tables, 30))
    made = bit_map(io.BytesIO(codec.encode(own, 30, effort=0)), load)
    assert made.cells is not None
    assert np.allclose(made.cells, wanted[:8, :12])


# one thing at a time --------------------------------------------------------------------------------------------


def test_the_latest_comes_first_and_what_nobody_waits_for_never() -> None:
    worker, order, held, begun = Worker(), [], threading.Event(), threading.Event()

    def hold() -> None:
        begun.set()
        held.wait(60)

    threads = [threading.Thread(target=worker.do, args=(hold,))]
    threads[0].start()
    begun.wait(60)
    for name, rank in (("small", 1), ("first", 0), ("second", 0)):
        action = partial(order.append, name)
        threads.append(threading.Thread(target=worker.do, args=(action,), kwargs={"rank": rank}))
        waiting = len(worker._waiting)
        threads[-1].start()
        while len(worker._waiting) == waiting:
            pass
    with pytest.raises(NotWanted):
        worker.do(lambda: order.append("left"), lambda: False)
    held.set()
    for thread in threads:
        thread.join()
    assert order == ["second", "first", "small"]
    with pytest.raises(ZeroDivisionError):
        worker.do(lambda: 1 / 0)
    assert worker.do(lambda: 7) == 7


def test_a_browser_that_has_gone_is_noticed(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, there = [], threading.Event()

    def answer(path: Any, wanted: Callable[[], bool]) -> Any:
        seen.append(wanted())
        there.set()
        while wanted():
            pass
        seen.append(False)
        there.set()
        raise NotWanted

    monkeypatch.setattr(server.routes, "answer", answer)
    with socket.create_connection(("127.0.0.1", server.server_port)) as raw:
        raw.sendall(f"GET /{server.token}/files HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert there.wait(60)
        there.clear()
    assert there.wait(60) and seen == [True, False]


# the command ----------------------------------------------------------------------------------------------------


def test_the_command_serves_until_ctrl_c(folder: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    restored = "import signal, mvc.cli; signal.signal(signal.SIGINT, signal.default_int_handler); mvc.cli.main()"
    command = [sys.executable, "-c", restored, "view", str(folder), "--no-browser"]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        address = process.stdout.readline().strip()
        assert address.startswith("http://127.0.0.1:") and address.endswith("/")
        assert "7 files; Ctrl-C ends it" in process.stderr.readline()
        port, token = address.removeprefix("http://127.0.0.1:").strip("/").split("/")
        connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=60)
        connection.request("GET", f"/{token}/{path_of('alpha', '/blocks/1/0/0/0/faithful')}")
        assert samples_of(connection.getresponse().read()).shape == (40, 60, 4)
        used = run("view", str(folder), "--port", port, "--no-browser")  # while that one is taken
        fails(used, 1, f"port {port} cannot be had")
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        assert process.stderr.read() == ""


def test_the_command_refuses(tmp_path: Path) -> None:
    fails(run("view", str(tmp_path / "none.mvc")), 1, "no such file")
    fails(run("view", str(tmp_path)), 1, "holds no .mvc files")
    fails(run("view", "-"), 2, "a pipe cannot be looked through")
    fails(run("view", "x.mvc", "--port", "65536"), 2, "--port")


# in a browser ---------------------------------------------------------------------------------------------------

PIXEL = "[...document.querySelector('#stage > canvas').getContext('2d').getImageData({x}, {y}, 1, 1).data].join()"


def text_of(selector: str) -> str:
    return f"document.querySelector({selector!r}).textContent"


@pytest.mark.skipif(BROWSER is None, reason="there is no headless Chromium here")
def test_in_a_browser(server: Server, folder: Path) -> None:
    with Browser() as browser:
        browser.open(server.address + f"#{1 + NAMES.index('network')}")
        browser.until("document.querySelector('#badges')?.textContent")
        assert browser.value(text_of("h1")) == "network.mvc"
        assert "quality 3.2" in browser.value(text_of("#badges"))
        assert "index 20" in browser.value(text_of("#info"))
        browser.key("1")
        place = browser.value("JSON.stringify([document.querySelector('#stage > canvas').width,"
                              " document.querySelector('#stage > canvas').height])")  # fmt: skip
        width, height = json.loads(place)
        with reader_of(Stored(folder / "network.mvc"), load) as file:
            assert file.kind == "still"
            samples = file.read().samples
        left, top = round((width - 90) / 2), round((height - 70) / 2)
        shown = PIXEL.format(x=left + 30, y=top + 20)
        before = ",".join(map(str, [*samples[20, 30], 255]))
        browser.until(f"{shown} == '{before}'")
        browser.key("+")
        assert browser.until(f"{text_of('#zoom-fit')} == '125 %'")
        browser.key("0")
        assert browser.until(f"{text_of('#zoom-fit')} == '100 %'")
        browser.until(f"{shown} == '{before}'")  # zooming shows what it had for a moment
        browser.key("b")
        browser.until("!document.querySelector('#legend').hidden")
        browser.until(f"{shown} != {before!r}")
        browser.key("b")
        browser.until(f"document.querySelector('#legend').hidden && {shown} == {before!r}")
        browser.key("ArrowRight")
        browser.until(f"{text_of('h1')} == 'tiles.mvc'")
        browser.key("i")
        browser.until("document.body.classList.contains('no-info')")
        screenshot = Image.open(io.BytesIO(browser.screenshot()))
        assert screenshot.size == (1280, 800)
        assert browser.errors == [] or all("422" in error for error in browser.errors)  # of the broken file's image


@pytest.mark.skipif(BROWSER is None, reason="there is no headless Chromium here")
def test_looks_in_a_browser(tmp_path: Path, installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    """Key and button, and the choice stays with the next picture; one without a look is what it is."""
    monkeypatch.setattr(facts, "looks_of", lambda model_id: tuple(LOOKS))
    own = mvc.codec.load(str(installed))
    coded = [own.encode(picture(70, 90, seed=seed), 20, effort=0) for seed in (1, 2)]
    files = {f"{n}.mvc": data for n, data in enumerate([*coded, mvc.encode(picture(70, 90, seed=3), lossless=True)])}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    found = [(str(tmp_path / name), name) for name in files]
    library = Library(found, lambda path: reader_of(Stored(path), lambda _: own))
    shown = [{look: own.looking(share).decode(data).samples for look, share in LOOKS.items()} for data in coded]
    y, x = np.argwhere(np.all([(made["faithful"] != made["natural"]).any(2) for made in shown], 0))[0]
    routes = Routes(library, Pictures(library, lambda _: own), lines_of, told=lambda error: None)
    with served(routes) as server, Browser() as browser:
        browser.open(server.address)
        browser.until("document.querySelector('#badges')?.textContent")
        browser.key("1")
        size = "[document.querySelector('#stage > canvas').width, document.querySelector('#stage > canvas').height]"
        width, height = json.loads(browser.value(f"JSON.stringify({size})"))
        pixel = PIXEL.format(x=round((width - 90) / 2) + x, y=round((height - 70) / 2) + y)

        def shows(samples: np.ndarray) -> None:
            browser.until(f"{pixel} == '{','.join(map(str, [*samples[y, x], 255]))}'")

        shows(shown[0]["faithful"])
        browser.key("n")
        shows(shown[0]["natural"])
        assert browser.value(text_of("#badges")).endswith("natural look")
        browser.key("PageDown")
        shows(shown[1]["natural"])
        browser.value("document.querySelector('#toggle-look').click()")
        shows(shown[1]["faithful"])
        assert not browser.value("document.querySelector('#toggle-look').disabled")
        browser.key("PageDown")
        browser.until("document.querySelector('#toggle-look').disabled")
        browser.key("n")
        shows(picture(70, 90, seed=3).samples)
        assert "natural" not in browser.value(text_of("#badges"))


@pytest.mark.skipif(BROWSER is None, reason="there is no headless Chromium here")
def test_clips_and_damage_in_a_browser(server: Server) -> None:
    with Browser(700, 600, touch=True) as browser:
        browser.open(server.address + f"#{1 + NAMES.index('clip')}")
        browser.until("document.querySelector('#frame')?.textContent")
        assert "1 of " in browser.value(text_of("#frame"))
        browser.key(".")
        browser.until(f"{text_of('#frame')}.includes('2 of ')")
        browser.key("PageDown")
        browser.until("!document.querySelector('#warning').hidden")
        assert "checksum" in browser.value(text_of("#warning"))
        browser.key("PageUp")
        browser.key("PageUp")
        browser.until("!document.querySelector('#message').hidden")
        assert browser.value(text_of("h1")) == "broken.mvc"


@pytest.mark.skipif(BROWSER is None, reason="there is no headless Chromium here")
def test_fingers_in_a_browser(server: Server) -> None:
    """Two fingers zoom and move, what is below them stays there; one drags; two taps come and go."""
    with Browser(500, 700, touch=True) as browser:
        browser.open(server.address + f"#{1 + NAMES.index('tiles')}")
        browser.until("document.querySelector('#badges')?.textContent")
        browser.until(f"{text_of('#zoom-fit')} == '83.3 %'")  # 600 pixels in 500
        box = json.loads(
            browser.value("JSON.stringify(document.querySelector('#stage > canvas').getBoundingClientRect())")
        )
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

        def below(wanted: int) -> None:
            """The finger that moved last has this column of the picture below it."""
            browser.until(f"Math.abs(parseInt({text_of('#status')}) - {wanted}) <= 2")

        browser.touch("touchStart", a=(x - 40, y))
        browser.touch("touchStart", a=(x - 40, y), b=(x + 40, y))
        for more in range(5, 45, 5):
            browser.touch("touchMove", a=(x - 40 - more, y), b=(x + 40 + more, y))
        browser.until(f"{text_of('#zoom-fit')} == '167 %'")
        browser.touch("touchMove", a=(x - 50, y), b=(x + 80, y))  # the left one, 30 to the right: 130 instead of 160
        browser.until(f"{text_of('#zoom-fit')} == '135 %'")
        below(300 - 48)
        browser.touch("touchMove", a=(x - 50, y + 30), b=(x + 80, y + 30))
        browser.touch("touchEnd", b=(x + 80, y + 30))
        browser.touch("touchMove", a=(x - 90, y + 30))
        below(300 - 48)
        assert browser.value(text_of("#zoom-fit")) == "135 %"
        browser.touch("touchEnd")
        assert browser.value("visualViewport.scale") == 1  # it is not the page that was zoomed
        for shown in ("83.3 %", "100 %"):
            browser.value("new Promise(done => setTimeout(done, 600))")  # taps before are of another double tap
            for _ in range(2):
                browser.touch("touchStart", a=(x, y))
                browser.touch("touchEnd")
            browser.until(f"{text_of('#zoom-fit')} == {shown!r}")
        assert browser.errors == [] or all("422" in error for error in browser.errors)
