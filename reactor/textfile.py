"""Text of files that people write: with whatever mark and line ends their editor leaves.

>>> decode_text(b"\\xef\\xbb\\xbfmongodb://host\\r\\n")
'mongodb://host\\r\\n'
"""

import codecs
from typing import Final

__all__ = ["BOM", "NotTextError", "decode_text"]

BOM: Final = "\ufeff"
"""The byte order mark that some editors put before a text; never a part of it."""
# The longer ones first: a mark of UTF-32 begins with that of UTF-16.
_MARKS: Final = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


class NotTextError(ValueError):
    """What a file holds is no text; the message says why and quotes nothing of it."""


def decode_text(raw: bytes) -> str:
    """Decode a whole file: UTF-8, or what its byte order mark names (UTF-8, UTF-16, UTF-32); the mark is not part of the text.

    Raises:
        NotTextError: it is not text of that encoding, nothing but a mark, or has NUL characters (UTF-16 without a mark has).
    """
    encoding = next((name for mark, name in _MARKS if raw.startswith(mark)), "utf-8")
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError:
        raise NotTextError(f"is not {encoding.removesuffix('-sig').upper()} text") from None
    if raw and not text:
        raise NotTextError("holds nothing but a byte order mark")
    if "\0" in text:
        raise NotTextError("holds NUL characters: it is no text, or UTF-16 without a byte order mark")
    return text.removeprefix(BOM)
