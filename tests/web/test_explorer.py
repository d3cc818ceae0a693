"""The explorer over HTTP, as the page asks it."""

import base64
import http.client
import io
import json
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from PIL import Image

import capsulegan
from browser import found_by, needs_browser
from capsulegan.data import load_data
from capsulegan.errors import UserError
from capsulegan.training.batches import scaled
from capsulegan.web import Explorer, ExplorerServer, server
from capsulegan.web.explorer import great_circle

TINY = {"data": "digits", "images": 640, "width": 8, "threads": 1, "precision": "32"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    config = capsulegan.Config("capsulegan", snapshot_images=320, **TINY)
    return capsulegan.train(config, tmp_path_factory.mktemp("explored") / "run")


@pytest.fixture(scope="module")
def served(run):
    with ExplorerServer(Explorer(run)) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield serving
        serving.shutdown()


@pytest.fixture
def ask(served):
    def request(path, method="GET", body=None, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", served.server_port, timeout=60)
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read())

    return request


def pixels_of(shown):
    head, data = shown["picture"].split(",")
    assert head == "data:image/png;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
        return np.asarray(picture).reshape(*picture.size[::-1], -1)


def test_images_are_those_of_the_run_with_its_probabilities(ask, run):
    status, shown = ask("/api/images?seed=3&count=5")
    images = run.sample(5, seed=3)
    assert status == 200
    np.testing.assert_array_equal([pixels_of(each) for each in shown], images)
    with torch.no_grad():
        expected = run.discriminator(scaled(images)).sigmoid()
    assert [each["probability"] for each in shown] == pytest.approx(expected.tolist(), abs=6e-5)


def test_facts_and_snapshots(ask, run):
    _, facts = ask("/api/facts")
    assert facts["model"] == "CapsuleGAN"
    assert facts["snapshots"] == run.snapshots == [320, 640]
    assert facts["parameters"] == run.parameter_counts
    early, late = (ask(f"/api/images?count=1&snapshot={at}")[1][0]["picture"] for at in (320, 640))
    assert early != late == ask("/api/images?count=1")[1][0]["picture"]
    status, answer = ask("/api/images?snapshot=5")
    assert (status, answer) == (400, {"error": "snapshot must be one of [320, 640], got 5"})


def test_a_walk_begins_and_ends_at_its_images(ask, run):
    _, steps = ask("/api/walk?seed=2&first=4&second=1&steps=7")
    images = run.sample(5, seed=2)
    assert len(steps) == 7
    np.testing.assert_array_equal(pixels_of(steps[0]), images[4])
    np.testing.assert_array_equal(pixels_of(steps[-1]), images[1])


def test_a_great_circle_keeps_its_distance_from_the_origin():
    first, second = torch.randn(2, 50, generator=torch.Generator().manual_seed(1)).double()
    second = second * first.norm() / second.norm()
    way = great_circle(first, second, torch.linspace(0, 1, 9).double())
    torch.testing.assert_close(way.norm(dim=1), first.norm().expand(9))
    turns = (way[1:] * way[:-1]).sum(dim=1)
    torch.testing.assert_close(turns, turns[:1].expand(8))
    assert great_circle(first, first, torch.tensor([0.0, 0.5]).double()).isfinite().all()


def test_a_look_tells_the_shares_of_the_answer(ask):
    _, looked = ask("/api/look?seed=3&index=4")
    _, shown = ask("/api/images?seed=3&count=5")
    found = looked.pop("evidence")
    assert looked == shown[4]
    assert np.sum(found["shares"]) + found["constant"] == pytest.approx(found["total"], abs=2e-3)
    squared = found["total"] ** 2
    assert squared / (1 + squared) == pytest.approx(looked["probability"], abs=1e-3)


def test_real_images_are_of_the_test_set(ask):
    test = load_data("digits", "test").images
    _, shown = ask("/api/images?source=real&seed=1&count=6")
    pictures = [pixels_of(each) for each in shown]
    assert all(any(np.array_equal(picture, image) for image in test) for picture in pictures)
    _, answers = ask("/api/answers?seed=1&count=50")
    assert answers["real"][:6] == [each["probability"] for each in shown]
    assert len(answers["generated"]) == 50
    low, high = answers["balanced_cut"] - 1e-6, answers["balanced_cut"] + 1e-6
    errors = [
        (np.mean(np.array(answers["real"]) <= cut), np.mean(np.array(answers["generated"]) > cut))
        for cut in (low, high)
    ]
    assert any(abs(missed - fooled) <= 0.04 for missed, fooled in errors)


def test_a_picture_of_ones_own_is_judged_as_the_same_image(ask, run):
    image = run.sample(1, seed=9)[0]
    file = io.BytesIO()
    Image.fromarray(image.squeeze(2)).save(file, format="PNG")
    status, judged = ask("/api/judge", "POST", file.getvalue())
    assert status == 200
    assert judged == ask("/api/look?seed=9&index=0")[1]


@pytest.mark.parametrize(
    ("path", "method", "body", "status", "complaint"),
    [
        ("/api/images?seed=-1", "GET", None, 400, "seed must be a whole number from 0"),
        ("/api/images?seed=" + "9" * 5000, "GET", None, 400, "seed must be a whole number"),
        ("/api/images?count=" + "0" * 20 + "9" * 9, "GET", None, 400, "count must be a whole number"),
        ("/api/images?seed=%C2%B2", "GET", None, 400, "seed must be a whole number"),
        ("/api/images?count=1001", "GET", None, 400, "count must be a whole number from 1 to 1000"),
        ("/api/images?source=mars", "GET", None, 400, "unknown source 'mars'"),
        ("/api/walk?first=1000", "GET", None, 400, "first must be"),
        ("/api/nothing", "GET", None, 404, "there is no /api/nothing"),
        ("/../server.py", "GET", None, 404, "there is no"),
        ("/api/judge", "POST", b"no picture", 400, "no picture of a known format"),
        ("/api/judge", "POST", b"", 400, "no picture of a known format"),
        ("/api/facts", "POST", b"", 404, "nothing is to be sent"),
    ],
)
def test_what_cannot_be_answered_is_one_line(ask, path, method, body, status, complaint):
    found, answer = ask(path, method, body)
    assert found == status
    assert complaint in answer["error"]
    assert "\n" not in answer["error"]


def test_a_picture_that_is_too_large_is_not_read(served):
    connection = http.client.HTTPConnection("127.0.0.1", served.server_port, timeout=60)
    connection.putrequest("POST", "/api/judge")
    connection.putheader("Content-Length", str(2**40))
    connection.endheaders()
    assert connection.getresponse().status == 413


def test_other_sites_get_no_answers(ask):
    """A site whose name was made to lead to this machine asks under its own name."""
    assert ask("/api/facts", Host="evil.example:80")[0] == 403
    assert ask("/api/judge", "POST", b"x", Host="evil.example")[0] == 403
    assert ask("/api/facts", Host="localhost:1")[0] == 200


def test_a_port_that_is_taken_is_said_so(served, run):
    with pytest.raises(UserError, match=f"port {served.server_port} cannot be had"):
        ExplorerServer(Explorer(run), served.server_port)


def test_a_classifier_is_nothing_to_explore():
    with pytest.raises(UserError, match="capsnet has classifier"):
        Explorer(capsulegan.load("capsnet-mnist"))


# a process in the background is started deaf to Ctrl-C
HEARING = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"


def test_the_command_tells_its_address_and_serves_there(run):
    code = f"{HEARING}; from capsulegan.cli import main; main()"
    command = [sys.executable, "-c", code, "explore", str(run.folder), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            address = process.stdout.readline().strip()
            connection = http.client.HTTPConnection(address.removeprefix("http://").strip("/"), timeout=60)
            connection.request("GET", "/")
            assert b"capsulegan explore" in connection.getresponse().read()
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 130
        finally:
            process.kill()


@pytest.mark.parametrize("port", ["-1", "70000", "x", ""])
def test_a_port_that_cannot_be_is_one_line(port):
    command = [sys.executable, "-m", "capsulegan.cli", "explore", "capsulegan-mnist", f"--port={port}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert "port" in done.stderr


PROBE = """
const errors = [];
addEventListener("error", event => errors.push(String(event.message)), true);
addEventListener("securitypolicyviolation", event => errors.push(event.violatedDirective));
const still = async () => {
  do await new Promise(go => setTimeout(go, 50)); while (document.body.hasAttribute("aria-busy"));
};
addEventListener("load", async () => {
  await still();
  const [drawn] = [...at("grid").children].map(button => button.dataset.index);
  controls.order.value = "most";
  controls.order.dispatchEvent(new Event("change", { bubbles: true }));
  await still();
  const sorted = [...document.querySelectorAll(".grid meter")].map(meter => meter.value);
  at("grid").children[5].click();
  await still();
  at("grid").children[9].click();
  await still();
  at("compare").click();
  await still();
  const address = location.hash, walked = at("steps").children.length;
  const answer = at("answer").textContent, meaning = at("meaning").textContent;
  const pictures = [...document.querySelectorAll("#grid img, #steps img")].map(image => image.naturalWidth);
  const finally_ = at("grid").querySelector("img").src;
  controls.snapshot.value = 0;
  controls.snapshot.dispatchEvent(new Event("change", { bubbles: true }));
  await still();
  const early = at("grid").querySelector("img").src, training = at("training").textContent.trim();
  const file = new DataTransfer();
  file.items.add(new File([await (await fetch("page.css")).blob()], "no picture"));
  at("picture").files = file.files;
  at("picture").dispatchEvent(new Event("change"));
  await still();
  const complaint = at("trouble").textContent;
  controls.source.value = "real";
  controls.source.dispatchEvent(new Event("change", { bubbles: true }));
  await still();
  at("grid").children[2].click();
  await still();
  at("grid").children[3].click();
  await still();
  const real = location.hash;
  controls.seed.value = "";
  at("next").click();
  await still();
  document.body.dataset.found = JSON.stringify({
    errors, drawn, sorted, address, walked, answer, meaning, pictures, training, complaint, real,
    changed: early !== finally_, title: at("title").textContent, walk: at("walk").hidden,
    scroll: document.documentElement.scrollWidth, width: innerWidth, shares: at("shares").width,
    verdict: at("verdict").textContent, bars: document.querySelectorAll(".bars rect").length,
    trouble: at("trouble").hidden, after: location.hash,
  });
});
"""


@needs_browser
@pytest.mark.parametrize(("width", "dark"), [(500, True), (1400, False)])
def test_the_page_in_a_browser(served, tmp_path, monkeypatch, width, dark):
    script = tmp_path / "page.js"
    script.write_text((server.ROOM / "page.js").read_text() + PROBE)
    monkeypatch.setitem(server.PAGES, "/page.js", (script, "text/javascript"))
    found = found_by(f"{served.address}#seed=4", tmp_path / "profile", dark, width, milliseconds=30_000)
    assert found["errors"] == []
    assert found["title"] == "CapsuleGAN on digits"
    assert found["drawn"] == "0"
    assert found["sorted"] == sorted(found["sorted"], reverse=True)
    assert len(found["sorted"]) == 64
    assert found["address"].startswith("#source=generated&seed=4&order=most&first=")
    assert "second=" in found["address"]
    assert found["pictures"] == [8] * (64 + 11)
    assert found["walked"] == 11
    assert "for real with" in found["answer"]
    assert "is the sum of the shares" in found["meaning"]
    assert found["shares"] == 4
    assert "of the real test images" in found["verdict"]
    assert found["bars"] == 80
    assert found["training"].startswith("after 320 images")
    assert found["changed"]
    assert "no picture of a known format" in found["complaint"]
    assert found["real"].startswith("#source=real&seed=4&order=most&snapshot=320&first=")
    assert "second" not in found["real"]  # nothing lies between two real images
    assert found["walk"]
    assert found["after"].startswith("#source=real&seed=5")
    assert found["trouble"]
    assert found["width"] == width
    assert found["scroll"] <= width
