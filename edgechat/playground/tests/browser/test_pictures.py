"""Pictures: dropped, pasted, chosen and taken, with a preview before they are sent."""

from __future__ import annotations

import io

import pillow_heif
from PIL import Image
from playwright.sync_api import FilePayload, Page, expect

from edgechat.playground.tests.browser.page import answers, send, wait_for_answer

# Makes a picture of one colour and gives it to the page as an event of this type would.
GIVE = """async ([type, colour, name]) => {
    const canvas = Object.assign(document.createElement("canvas"), { width: 60, height: 40 });
    const context = canvas.getContext("2d");
    context.fillStyle = colour;
    context.fillRect(0, 0, 60, 40);
    const blob = await new Promise((resolve) => canvas.toBlob(resolve));
    const files = new DataTransfer();
    files.items.add(new File([blob], name, { type: name.endsWith(".png") ? "image/png" : "text/plain" }));
    const field = document.getElementById("message");
    const options = { bubbles: true, cancelable: true };
    field.dispatchEvent(type === "drop"
        ? new DragEvent("drop", { ...options, dataTransfer: files })
        : new ClipboardEvent("paste", { ...options, clipboardData: files }));
}"""


def test_pictures_are_dropped_pasted_and_taken_and_the_model_sees_them(alices: Page) -> None:
    alices.evaluate(GIVE, ["drop", "red", "dropped.png"])
    expect(alices.get_by_alt_text("dropped.png")).to_be_visible()
    alices.evaluate(GIVE, ["paste", "green", "pasted.png"])
    expect(alices.get_by_alt_text("pasted.png")).to_be_visible()
    alices.get_by_role("button", name="Take a picture").click()
    button = alices.get_by_role("button", name="Take the picture")
    expect(button).to_be_enabled()
    # The camera goes on while the page shows something new.
    viewfinder = alices.locator("#viewfinder")
    viewfinder.evaluate("video => video.addEventListener('emptied', () => { video.title = 'begins again'; })")
    alices.evaluate("async () => (await import('/static/playground/notices.js')).notify('Something new')")
    expect(alices.locator(".notices")).to_contain_text("Something new")
    expect(viewfinder).not_to_have_attribute("title", "begins again")
    button.click()
    expect(alices.get_by_alt_text("camera.jpg")).to_be_visible()
    alices.get_by_label("Remove pasted.png").click()
    expect(alices.locator(".previews .ready")).to_have_count(2)
    send(alices, "What is this?")
    wait_for_answer(alices)
    expect(answers(alices)).to_contain_text("[image 60x40")
    shown = alices.locator(".message.user .picture img")
    expect(shown).to_have_count(2)
    for index in range(2):
        expect(shown.nth(index)).to_have_js_property("complete", True)
        expect(shown.nth(index)).not_to_have_js_property("naturalWidth", 0)
    shown.first.click()
    expect(alices.locator("dialog img.whole")).to_have_js_property("naturalWidth", 60)


def test_what_is_not_a_picture_is_refused_in_words(alices: Page) -> None:
    alices.evaluate(GIVE, ["drop", "red", "notes.txt"])
    expect(alices.locator(".notices")).to_contain_text("notes.txt is not a picture.")
    alices.locator("#files").set_input_files(
        files=[FilePayload(name="broken.png", mimeType="image/png", buffer=b"this is no picture")]
    )
    expect(alices.locator(".previews .failed")).to_be_visible()
    expect(alices.locator(".notices")).to_contain_text(
        "broken.png: This is not a JPEG, PNG, WebP, GIF or HEIC picture."
    )
    alices.get_by_label("Remove broken.png").click()
    expect(alices.locator(".previews")).to_have_count(0)


def test_a_picture_that_the_browser_cannot_show_is_previewed_all_the_same(alices: Page) -> None:
    data = io.BytesIO()
    pillow_heif.from_pillow(Image.new("RGB", (60, 40), "orange")).save(data)
    photo: FilePayload = {"name": "photo.heic", "mimeType": "image/heic", "buffer": data.getvalue()}
    alices.locator("#files").set_input_files(photo)
    expect(alices.get_by_role("img", name="photo.heic")).to_have_js_property("naturalWidth", 60)


def test_the_same_picture_twice_is_sent_once(alices: Page) -> None:
    for name in ("one.png", "two.png"):
        alices.evaluate(GIVE, ["drop", "red", name])
    expect(alices.locator(".previews .ready")).to_have_count(2)
    send(alices, "What is this?")
    wait_for_answer(alices)
    expect(alices.locator(".message.user .picture")).to_have_count(1)
