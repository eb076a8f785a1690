"""The demo page in a real Chromium, on the real service: what a visitor sees and hears."""

from __future__ import annotations

import base64
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import httpx
import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from google.protobuf import json_format
from PIL import Image
from playwright.sync_api import Browser, Error, Route, expect

from swin_proto.v1.classifier_pb2 import ClassifyRequest
from swin_proto.v1.classifier_pb2_grpc import ClassifierStub
from tests.e2e.browser import DemoPage, chromium
from tests.e2e.guarded import Tokens
from tests.e2e.running import Running, curl, service
from tests.gateway.samples import png_claiming

Open = Callable[..., DemoPage]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture
def visit(browser: Browser) -> Iterator[Open]:
    """Opens the page of a service as a new visitor; at the end nothing may have gone wrong unseen."""
    contexts, pages = [], []

    def visit(running: Running, **context: object) -> DemoPage:
        contexts.append(browser.new_context(**context))  # type: ignore[arg-type]
        pages.append(DemoPage(contexts[-1].new_page(), running.http))
        return pages[-1]

    yield visit
    for context in contexts:
        context.close()
    assert not [complaint for page in pages for complaint in page.complaints]


@pytest.fixture
def demo(visit: Open, shared: Running) -> DemoPage:
    """The page, with its models known."""
    found = visit(shared)
    found.page.locator("#samples").wait_for()
    return found


@pytest.fixture
def wide(digit: Path) -> bytes:
    """A digit in the middle of a picture of 2:1, of which the model sees the middle half."""
    square = Image.open(digit).convert("RGB")
    canvas = Image.new("RGB", (2 * square.width, square.height), square.getpixel((0, 0)))
    canvas.paste(square, (square.width // 2, 0))
    return png(canvas)


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def answer_to(running: Running, image: bytes) -> dict:
    """What the API itself says of an image."""
    url = f"{running.http}/v1/models/swin_digits:classify?class_activation_map=base64"
    return httpx.post(url, content=image, trust_env=False).json()["results"][0]


def test_a_dropped_image_gets_labels_bars_and_times(demo: DemoPage, samples: dict[Path, str]) -> None:
    path, label = next(iter(samples.items()))
    demo.drop_file(path)
    demo.answered(label)
    scores = demo.scores()
    assert len(scores) == 5
    assert scores == sorted(scores, reverse=True)
    shares = "rows => rows.map(row => 100 * row.firstChild.getBoundingClientRect().width / row.offsetWidth)"
    assert demo.page.eval_on_selector_all(".row .bar", shares) == pytest.approx(scores, abs=0.5)
    times = dict(zip(*(demo.page.locator(f"#times {part}").all_inner_texts() for part in ("dt", "dd")), strict=True))
    assert list(times) == ["queue", "batch wait", "decode", "inference", "on the way", "in all"]
    parts = [float(each.removesuffix(" ms")) for each in times.values()]
    assert sum(parts[:-1]) == pytest.approx(parts[-1], abs=0.5)


def test_a_pasted_image_is_classified_and_pasted_text_is_not(demo: DemoPage, samples: dict[Path, str]) -> None:
    demo.paste_text("https://example.org/photo.jpg")
    expect(demo.page.locator("#status")).to_contain_text("no file")
    path, label = next(iter(samples.items()))
    demo.paste(path.name, path.read_bytes())
    demo.answered(label)


def test_a_sample_is_classified_at_a_click(demo: DemoPage) -> None:
    demo.page.get_by_role("button", name="Try a red four").click()
    demo.answered("four")


def test_the_keyboard_alone_picks_an_image_and_a_class(demo: DemoPage, samples: dict[Path, str]) -> None:
    path, label = next(iter(samples.items()))
    with demo.page.expect_file_chooser() as chooser:  # around all of it: the browser has to be told first
        reached = []
        while "file" not in reached:
            demo.page.keyboard.press("Tab")
            reached.append(demo.page.evaluate("document.activeElement.id"))
            assert len(reached) < 5, reached
        demo.page.keyboard.press("Enter")
    chooser.value.set_files(path)
    demo.answered(label)
    demo.page.get_by_role("radio").first.focus()
    demo.page.keyboard.press("ArrowDown")
    second = demo.page.locator(".row .name").nth(1).inner_text()
    assert f"“{second}”" in demo.text("#map-note")
    demo.page.locator("#tab-curl").focus()
    demo.page.keyboard.press("ArrowRight")
    assert demo.text("#code").startswith("from swinserve import Client")


def test_the_map_lies_on_what_the_model_saw_and_is_brightest_where_it_should(
    demo: DemoPage, shared: Running, wide: bytes
) -> None:
    demo.drop("wide.png", wide)
    demo.page.locator("#map").wait_for()
    assert demo.pixel(0.1, 0.5)[3] == demo.pixel(0.9, 0.5)[3] == 0  # beside what the model saw
    result = answer_to(shared, wide)
    for index, prediction in enumerate(result["predictions"][:2]):
        demo.page.get_by_role("radio").nth(index).check()
        tensor = prediction["class_activation_map"]
        values = np.frombuffer(base64.b64decode(tensor["data"]), "<f4").reshape(tensor["shape"])
        high, low = (np.unravel_index(each, values.shape) for each in (values.argmax(), values.argmin()))
        bright, dark = (
            demo.pixel(0.25 + 0.5 * (column + 0.5) / values.shape[1], (row + 0.5) / values.shape[0])
            for row, column in (high, low)
        )
        assert bright == pytest.approx([252, 255, 164, 255], abs=12)
        assert dark == pytest.approx([0, 0, 4, 255], abs=12)


def test_the_slider_fades_the_map_over_the_image(demo: DemoPage, samples: dict[Path, str]) -> None:
    path, label = next(iter(samples.items()))
    demo.drop_file(path)
    demo.answered(label)
    picture = demo.page.locator("#picture")
    looks = []
    for share in ("0", "50", "100"):
        demo.page.fill("#opacity", share)
        assert demo.text("#opacity-value") == f"{share} %"
        looks.append(picture.screenshot())
    assert len(set(looks)) == 3
    demo.page.evaluate("document.querySelector('#map').remove()")
    assert picture.screenshot() == looks[0]


def test_an_image_that_lies_on_its_side_is_shown_upright_below_its_map(demo: DemoPage, wide: bytes) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90°
    buffer = io.BytesIO()
    Image.open(io.BytesIO(wide)).save(buffer, "JPEG", exif=exif.tobytes(), quality=95)
    demo.drop("turned.jpg", buffer.getvalue(), "image/jpeg")
    demo.page.locator("#map").wait_for()
    box = demo.page.locator("#picture").bounding_box()
    assert box
    assert box["height"] == pytest.approx(2 * box["width"], rel=0.02)
    assert demo.pixel(0.5, 0.1)[3] == demo.pixel(0.5, 0.9)[3] == 0  # above and below what the model saw
    assert demo.pixel(0.1, 0.5)[3] == demo.pixel(0.9, 0.5)[3] == 255


def test_a_file_that_cannot_be_answered_is_refused_in_words(demo: DemoPage) -> None:
    for content, title, detail in (
        (b"Dear diary", "This is no image that the service reads", "JPEG, PNG"),
        (b'{"images": []}', "This is no image that the service reads", "JPEG, PNG"),
        (png_claiming(20_000, 20_000), "This image is too large", "pixels"),
        (png_claiming(64, 64), "This image is damaged", "request id"),
    ):
        with demo.page.expect_response("**/*:classify*") as answered:
            demo.drop("file", content, "")
        assert demo.refused() == title
        assert detail in demo.text("#failure-detail")
        assert answered.value.headers["x-request-id"] in demo.text("#failure-detail")
        assert demo.page.locator("#again").is_hidden()  # the same would be refused again
        # Browsers show what there is of a damaged image.
        assert demo.page.locator("#unseen").is_visible() is not content.startswith(b"\x89PNG")


def test_a_busy_service_is_asked_again_when_it_says_so(demo: DemoPage, samples: dict[Path, str]) -> None:
    """The refusal is made up here, once: a queue that stays full long enough to be seen takes longer than all else."""
    refusal = {"code": "RESOURCE_EXHAUSTED", "reason": "OVERLOADED", "message": "the queue is full", "request_id": "r"}

    def busy(route: Route) -> None:
        headers = {"retry-after": "1", "x-request-id": "r-429"}
        route.fulfill(status=429, headers=headers, content_type="application/json", body=json.dumps({"error": refusal}))

    demo.page.route("**/*:classify*", busy, times=1)
    path, label = next(iter(samples.items()))
    demo.drop_file(path)
    assert demo.refused() == "The service is busy"
    assert demo.text("#failure-advice").endswith("Try again in 1 s.")
    assert demo.text("#failure-detail") == "the queue is full · request id r-429"
    # A button that counts down in there would be read aloud every second.
    assert demo.page.get_by_role("alert").get_by_role("button").count() == 0
    demo.page.get_by_role("button", name="Try again", exact=True).click()  # waits until it can be
    demo.answered(label)
    assert demo.page.locator("#failure").is_hidden()
    expect(demo.page.locator("#status")).to_be_focused()  # and not the top of the page


def test_a_service_that_cannot_be_reached_is_asked_again_at_a_click(demo: DemoPage, samples: dict[Path, str]) -> None:
    demo.page.route("**/*:classify*", lambda route: route.abort(), times=1)
    path, label = next(iter(samples.items()))
    demo.drop_file(path)
    assert demo.refused() == "The service cannot be reached"
    demo.page.get_by_role("button", name="Try again").click()
    demo.answered(label)


def test_a_file_that_has_changed_since_it_was_chosen_is_not_taken_for_a_service_that_is_away(
    demo: DemoPage, samples: dict[Path, str], tmp_path: Path
) -> None:
    path, label = next(iter(samples.items()))
    chosen = tmp_path / path.name
    chosen.write_bytes(path.read_bytes())
    demo.page.set_input_files("#file", chosen)
    demo.answered(label)
    os.utime(chosen, (0, 0))
    demo.page.dispatch_event("#model", "change")
    assert demo.refused() == "This file cannot be read"
    assert demo.page.locator("#again").is_hidden()


def test_the_call_for_an_image_ends_when_the_next_is_given(demo: DemoPage, samples: dict[Path, str]) -> None:
    """Before the next is shown: else an answer in between would be that of another image."""
    first, second = list(samples)[:2]
    demo.page.route("**/*:classify*", lambda _: None, times=1)  # not answered
    with demo.page.expect_request("**/*:classify*"):
        demo.drop_file(first)
    demo.page.evaluate("() => (HTMLImageElement.prototype.decode = () => new Promise(() => {}))")  # a large one
    with demo.page.expect_event("requestfailed"):
        demo.drop_file(second)


def test_an_answer_that_is_cut_off_on_its_way_is_an_error_too(demo: DemoPage, digit: Path) -> None:
    demo.page.route("**/*:classify*", lambda route: route.fulfill(body='{"results": [{'), times=1)
    demo.drop_file(digit)
    assert demo.refused() == "That did not work"
    assert demo.page.locator("#answer").get_attribute("aria-busy") == "false"


def test_another_model_is_asked_when_it_is_picked(demo: DemoPage, samples: dict[Path, str]) -> None:
    """The list is that of a service that served one more before it was started anew, which the service then refuses."""

    def stale(route: Route) -> None:
        body = route.fetch().json()
        body["models"].append(body["models"][0] | {"name": "gone", "ready": False})
        route.fulfill(json=body)

    demo.page.route("**/v1/models", stale)
    demo.page.reload()
    path, label = next(iter(samples.items()))
    demo.page.locator("#samples").wait_for()
    demo.drop_file(path)
    demo.answered(label)
    demo.page.select_option("#model", label="gone 1.0")
    assert demo.refused() == "This model is not served any more"
    with demo.page.expect_response("**/v1/models"):  # asked for again until all are ready
        pass
    assert "served: swin_digits@1.0" in demo.text("#failure-detail")
    demo.page.select_option("#model", label="swin_digits 1.0")
    demo.answered(label)


def test_the_model_card_says_what_the_model_is(demo: DemoPage) -> None:
    card = dict(zip(*(demo.page.locator(f"#card {part}").all_inner_texts() for part in ("dt", "dd")), strict=True))
    assert card["Parameters"] == "237K (236,692)"
    assert card["Multiply-adds"] == "5.23M an image (5,232,256)"
    assert card["Top-1"] == "99.56 % of 450 held-out digits"
    assert card["Preprocessing"].startswith("short side to 32 (bicubic), middle 32×32; mean 0.5")
    assert card["Weights from"] == "built-in swin_digits"
    assert card["Licence"] == "apache-2.0"


def test_what_is_to_be_copied_does_what_the_page_did(
    demo: DemoPage, shared: Running, samples: dict[Path, str], tmp_path: Path
) -> None:
    path, label = next(iter(samples.items()))
    name = "it's a digit.jpg"
    (tmp_path / name).write_bytes(path.read_bytes())
    demo.drop(name, path.read_bytes())
    demo.answered(label)

    def shell(script: str) -> str:
        command = ["bash", "-euo", "pipefail", "-c", script]
        return subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True, timeout=60).stdout

    curl("--version")  # or skip
    result = json.loads(shell(demo.snippet("curl")))["results"][0]
    assert (result["predictions"][0]["label"], "map_region" in result) == (label, True)
    command = [sys.executable, "-c", demo.snippet("python")]
    python = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert python.stdout.split()[0] == label, python.stderr
    # grpcurl is in no package index of ours: what it would be given, and where it would send it.
    asked = shell(f'grpcurl() {{ echo "$@" >&2; cat; }}\n{demo.snippet("grpcurl")}')
    address = shared.grpc.removeprefix("grpc://")
    assert f"-plaintext -d @ \\\n  {address} swinserve.v1.Classifier/Classify" in demo.snippet("grpcurl")
    with grpc.insecure_channel(address) as channel:
        answer = ClassifierStub(channel).Classify(json_format.Parse(asked, ClassifyRequest()), timeout=30)
    best = answer.results[0].predictions.predictions[0]
    assert (best.label, list(best.class_activation_map.shape)) == (label, [4, 4])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nobody_is_left_out_by_colours_names_roles_or_a_narrow_screen(
    visit: Open, shared: Running, samples: dict[Path, str], scheme: str
) -> None:
    demo = visit(shared, color_scheme=scheme, viewport={"width": 360, "height": 740})
    path, label = next(iter(samples.items()))
    demo.page.locator("#samples").wait_for()
    found = [Axe().run(demo.page)]
    demo.drop_file(path)
    demo.answered(label)
    found.append(Axe().run(demo.page))
    demo.page.eval_on_selector("#model option", "(option) => (option.textContent = 'swin_tiny_patch4_window7_224 1.0')")
    demo.page.eval_on_selector("#status", "(status) => (status.textContent = 'x'.repeat(100))")
    assert demo.page.eval_on_selector("#answer", "(answer) => answer.scrollWidth === answer.clientWidth")
    assert demo.page.evaluate("document.documentElement.scrollWidth") == 360
    demo.drop("notes.txt", b"text", "text/plain")
    demo.refused()
    found.append(Axe().run(demo.page))
    assert [each.generate_report() for each in found if each.violations_count] == []


def test_the_browser_runs_no_script_that_was_slipped_into_the_page(demo: DemoPage) -> None:
    script = """() => new Promise((resolve) => {
        document.addEventListener("securitypolicyviolation", (event) => resolve(event.effectiveDirective));
        import("data:text/javascript,window.slipped = true").catch(() => {});
    })"""
    assert demo.page.evaluate(script) == "script-src-elem"
    assert demo.page.evaluate("window.slipped") is None
    with pytest.raises(Error, match="TrustedHTML"):  # so that no label, file name or message can be made HTML
        demo.page.evaluate("() => (document.querySelector('#status').innerHTML = 'one')")
    assert [complaint for complaint in demo.complaints if "Content Security Policy" in complaint]
    demo.complaints.clear()


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Tokens:
    found = Tokens(tmp_path_factory.mktemp("tokens") / "tokens.toml")
    both = 'scopes = ["classify", "metadata"]'
    found.write(visitor=both, reader='scopes = ["metadata"]', slow=f'{both}\nrate = "1/day"')
    return found


@pytest.fixture(scope="module")
def guarded(store: Path, tokens: Tokens, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    arguments = ("swin_digits", "--model-store", store, "--token-file", tokens.file)
    with service(tmp_path_factory.mktemp("guarded-page"), *arguments) as running:
        yield running


def test_a_guarded_service_is_shown_to_who_has_a_token(
    visit: Open, guarded: Running, tokens: Tokens, samples: dict[Path, str]
) -> None:
    demo = visit(guarded)
    path, label = next(iter(samples.items()))
    demo.page.locator("#token-form").wait_for()
    demo.drop_file(path)  # kept until a token is there
    demo.token("not…ascii")  # which no header can carry
    assert demo.page.locator("#token:invalid").count() == 1
    demo.token("wrong")
    assert demo.refused() == "A token is needed"
    demo.token(tokens.secrets["reader"])
    assert demo.refused() == "This token may not do that"
    assert "lacks the scope classify" in demo.text("#failure-detail")
    secret = tokens.secrets["visitor"]
    demo.token(secret)
    demo.answered(label)
    assert demo.text("#token-label").startswith("A token is in use")
    for tab in ("curl", "python", "grpcurl"):
        assert "TOKEN" in demo.snippet(tab)
    assert secret not in demo.page.content()
    assert secret not in demo.page.url
    demo.page.reload()  # of the same tab, which keeps it
    demo.page.locator("#samples").wait_for()
    assert demo.page.locator("#docs").is_hidden()  # a link cannot bring a token
    other = demo.page.context.new_page()
    other.goto(guarded.http)
    other.locator("#token-form").wait_for()


def test_a_token_that_is_used_up_is_told_when_to_come_back(
    visit: Open, guarded: Running, tokens: Tokens, samples: dict[Path, str]
) -> None:
    demo = visit(guarded)
    path, label = next(iter(samples.items()))
    demo.token(tokens.secrets["slow"])
    demo.page.locator("#samples").wait_for()
    demo.drop_file(path)
    demo.answered(label)
    demo.drop_file(path)
    assert demo.refused() == "Too many images with this token"
    assert "Try again in 2" in demo.text("#failure-advice")  # 23 h 59 min …
    assert demo.page.locator("#again").is_disabled()
