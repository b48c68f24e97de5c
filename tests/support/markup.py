"""What tests of the text of pages share: records, a name that wants to be markup, and a reader."""

from html.parser import HTMLParser

from slt_compress.data.preprocessing import Preprocessing
from slt_compress.ticket.record import NetworkRecord

GREY = Preprocessing(28, 1, (0.13,), (0.31,))
COLOUR = Preprocessing(32, 3, (0.5,) * 3, (0.2,) * 3)
RECORD = NetworkRecord("mnist", list("0123456789"), GREY, "lenet-5", 0, 0.9, "ab")
NASTY = "</script><img src=x onerror=alert(1)>&\"'\\\u2028${x}日本語"


class Reader(HTMLParser):
    """Collects what elements a page has, its texts, and what it would load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.links: list[str | None] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
