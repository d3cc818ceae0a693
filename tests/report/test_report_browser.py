"""The page in a real browser, headless Chromium, on a phone's and a desk's width."""

from pathlib import Path

import pytest

from browser import found_by, needs_browser
from capsulegan.report import write_report

from .conftest import MakeStudy, make_rows

PROBE = """<script>
const errors = [];
addEventListener("error", event => errors.push(String(event.message || event.target.tagName)), true);
addEventListener("securitypolicyviolation", event => errors.push(event.violatedDirective));
addEventListener("load", () => {
  document.querySelectorAll("details").forEach(fold => { fold.open = true; });
  parent.postMessage(JSON.stringify({
    scroll: document.documentElement.scrollWidth, width: innerWidth, errors,
    images: [...document.images].map(image => image.complete && image.naturalWidth > 0),
    pixelated: [...document.images].every(i => getComputedStyle(i).imageRendering === "pixelated"),
    drawn: [...document.querySelectorAll("[role=img] svg")].map(s => s.clientHeight > 99),
    ink: getComputedStyle(document.body).color,
  }), "*");
});
</script>"""
FRAME = """<!doctype html><body><iframe src="probed.html" width="{width}" height="900"></iframe>
<script>addEventListener("message", event => {{ document.body.dataset.found = event.data }})</script>"""


@needs_browser
@pytest.mark.parametrize(("width", "dark"), [(390, True), (1280, False)])
def test_the_page_in_a_browser(make_study: MakeStudy, tmp_path: Path, width: int, dark: bool) -> None:
    models = (
        "gan",
        "capsulegan",
        "gan-margin",
        "a-model-whose-name-is-too-long-for-a-phone",
    )
    rows = make_rows(models, (0, 1), ("knn", "rbf"))
    failures = [{"stage": "train gan-s1", "error": "x" * 400}]
    study = make_study(models=models, seeds=(0, 1), rows=rows, failures=failures)
    page = write_report(study).read_text(encoding="utf-8")
    allowed = page.replace("default-src 'none'", "default-src 'none'; script-src 'unsafe-inline'")
    (tmp_path / "probed.html").write_text(allowed.replace("<head>", "<head>" + PROBE))
    (tmp_path / "frame.html").write_text(FRAME.format(width=width))
    found = found_by((tmp_path / "frame.html").as_uri(), tmp_path / "profile", dark)
    assert found["width"] == width
    assert found["scroll"] <= width
    assert found["images"] == [True] * 20  # four models: large, three stages, one other seed
    assert found["drawn"] == [True] * 11  # best answers, two kernels, two panels a model
    assert found["pixelated"]
    assert found["errors"] == []
    assert found["ink"] == ("rgb(216, 222, 228)" if dark else "rgb(36, 41, 47)")
