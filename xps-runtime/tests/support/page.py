"""Looks at a sidecar's page in headless Chromium: what it shows, that it is live, that it fits a phone, and that it notices when
the sidecar is gone.

    page.py CHROMIUM URL PICTURES EXPECTATIONS

EXPECTATIONS is JSON: `path`, a list of `texts` that must show, and `rises`, the tile or row whose number must rise while it is
looked at. PICTURES is a folder for screenshots, or empty.

Says "live" once that is so, and then waits for a line before it looks whether the page has noticed that the sidecar is gone; says
"gone", and waits for another before it looks whether it has noticed that there is one again; says "back".
"""

import json
import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

PATIENCE_MS = 60_000
PHONE = {"width": 320, "height": 640}
DESK = {"width": 1280, "height": 900}

# Elements that reach beyond the window, but for those that are folded away.
WIDER = """() => [...document.body.querySelectorAll('*')].filter(element => {
    const box = element.getBoundingClientRect();
    return element.checkVisibility() && box.width > 1 && (box.right > innerWidth + 0.5 || box.left < -0.5);
}).map(element => element.tagName + ': ' + element.textContent.slice(0, 60))"""

# The number behind a name: of a tile, in all; of a row of a table.
NUMBER = """name => {
    const tile = document.querySelector(`[data-counter="${name}"] .soft:last-of-type`);
    const head = [...document.querySelectorAll('tbody th')].find(head => head.textContent === name);
    const found = tile ?? (head && head.nextElementSibling);
    return found ? Number(found.textContent.replace(/[^0-9]/g, '')) : null;
}"""

RATE = """name => {
    const tile = document.querySelector(`[data-counter="${name}"] b`);
    const head = [...document.querySelectorAll('tbody th')].find(head => head.textContent === name);
    const found = tile ?? (head && head.nextElementSibling.nextElementSibling);
    return !!found && /^[0-9.,]+\\/s$/.test(found.textContent) && !found.textContent.startsWith('0/');
}"""


def check(good: bool, what: str) -> None:
    if not good:
        raise SystemExit(f"page.py: {what}")


def fits(page: Page, what: str) -> None:
    wider = page.evaluate(WIDER)
    check(not wider, f"{what}: wider than the window: {wider}")
    scrolls = page.evaluate("document.documentElement.scrollWidth > innerWidth")
    check(not scrolls, f"{what}: scrolls to the side")


def say(word: str) -> None:
    print(word, flush=True)
    sys.stdin.readline()


def main() -> None:
    chromium, url, pictures, expectations = sys.argv[1:]
    expected = json.loads(expectations)

    def picture(page: Page, name: str) -> None:
        if pictures:
            page.screenshot(path=Path(pictures) / f"{expected['name']}-{name}.png", full_page=True)

    with sync_playwright() as playwright:
        # The tests may run as root, and in containers with a small /dev/shm.
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
        )
        context = browser.new_context(viewport=DESK, color_scheme="light", reduced_motion="reduce")
        context.set_default_timeout(PATIENCE_MS)
        page = context.new_page()
        told, errors, asked = [], [], set()
        page.on("console", lambda message: told.append(message.text) if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("request", lambda request: asked.add(request.url))
        page.goto(url)

        page.locator("#path strong").filter(has_text=f"{expected['path']} path").wait_for()
        kind = "good" if expected["path"] == "kernel" else "warn"
        check(kind in page.locator("#path").get_attribute("class"), "the path has the wrong colour")
        for text in expected["texts"]:
            page.get_by_text(text).first.wait_for()
        name = expected["rises"]
        page.wait_for_function(f"name => ({NUMBER})(name) !== null", arg=name)
        first = page.evaluate(NUMBER, name)
        page.wait_for_function(f"([name, first]) => ({NUMBER})(name) > first", arg=[name, first])
        page.wait_for_function(RATE, arg=name)
        check(page.locator("#gone").is_hidden(), "says that the sidecar is gone")

        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            for size, what in ((DESK, "desk"), (PHONE, "phone")):
                page.set_viewport_size(size)
                fits(page, f"{what}, {scheme}")
                picture(page, f"{what}-{scheme}")
        # What is folded away is no wider.
        for folded in page.locator("summary").all():
            folded.click()
        fits(page, "phone, unfolded")
        picture(page, "phone-unfolded")
        strangers = [one for one in asked if not one.startswith(url) and not one.startswith("data:")]
        check(not strangers, f"asks elsewhere: {strangers}")
        check(not told, f"the console tells {told}")

        say("live")
        page.locator("#gone").wait_for(state="visible")
        text = page.locator("#gone").text_content()
        check("has not answered since" in text, text)
        fits(page, "phone, gone")
        picture(page, "gone")

        say("gone")
        page.locator("#gone").wait_for(state="hidden")
        check(page.locator("#fresh").text_content() == "live", "is not live")
        # That a connection was refused is told by the browser itself.
        others = [one for one in told if "net::ERR" not in one]
        check(not others, f"the console tells {others}")
        check(not errors, f"the script failed: {errors}")
        print("back", flush=True)
        browser.close()


main()
