"""What a file really is, told by its first bytes, whatever its name says."""

import re
from dataclasses import dataclass

# Bytes at the beginning of a file in which signs of its content are looked for. A round number:
# the signs are in the first lines.
HEAD = 4096


@dataclass(frozen=True)
class Content:
    """What a file holds, in `words` with their article, its `kind`, and `advice`, if there is any.

    Some reader here takes a "picture", "film", "sound", "weights", "text" or "json". None takes a
    "photo", which is a picture, a "playlist", which names other files, or "other" content.
    """

    words: str
    kind: str = "other"
    advice: str = ""


AS_PNG = "save it as PNG or JPEG"
UNPACK = "unpack it first"
FETCH = "download the file itself"
TORCH = Content("PyTorch weights", "weights")
SAFETENSORS = Content("safetensors weights", "weights")
PICKLE = Content("a Python pickle, as of PyTorch weights", "weights")
CAFFE = Content("a Caffe model", "weights")
# The content of a file by the pattern with which it begins; the first that matches counts.
BINARY: tuple[tuple[bytes, Content], ...] = (
    (rb"\x89PNG\r\n", Content("a PNG picture", "picture")),
    (rb"\xff\xd8\xff", Content("a JPEG picture", "picture")),
    (rb"GIF8[79]a", Content("a GIF picture", "picture")),
    (rb"RIFF.{4}WEBP", Content("a WebP picture", "picture")),
    (rb"FUJIFILMCCD-RAW|II.{6}CR\x02|.{4}ftypcrx ", Content("a raw photo", "photo", AS_PNG)),
    (rb"II\*\0|MM\0\*", Content("a TIFF picture", "picture")),
    (rb"BM.{4}\0{4}", Content("a BMP picture", "picture")),
    (rb"\x76\x2f\x31\x01", Content("an OpenEXR picture", "picture")),
    (rb".{4}ftyp(.{4}){0,16}?avi[fs]", Content("an AVIF picture", "picture")),
    (rb".{4}ftyp(hei[cxms]|hev[cxms]|mif1|msf1)", Content("a HEIC photo", "photo", AS_PNG)),
    (rb"\xff\x0a|\0{3}\x0cJXL ", Content("a JPEG XL picture", "photo", AS_PNG)),
    (rb"%!PS|\xc5\xd0\xd3\xc6", Content("PostScript (EPS)", "photo", AS_PNG)),
    (rb"%PDF", Content("a PDF", "photo", AS_PNG)),
    (rb".{4}(ftyp|moov|mdat|wide)", Content("an MP4 or QuickTime film", "film")),
    (rb"\x1a\x45\xdf\xa3", Content("a Matroska or WebM film", "film")),
    (rb"RIFF.{4}AVI ", Content("an AVI film", "film")),
    (rb"(RIFF|RF64).{4}WAVE", Content("a WAV sound", "sound")),
    (rb"OggS|fLaC|ID3", Content("a sound", "sound")),
    (rb"PK\x03\x04.{26}[^/]{1,200}/(data\.pkl|data/0|version)", TORCH),
    (rb".{4}\0{4}\{\s*\"", SAFETENSORS),
    (rb"\x80[\x02-\x05]", PICKLE),
    (rb"(\n[\x01-\x7f][\x20-\x7e]{1,127}?(\x12|\x1a)|(\n..{0,127}?)?\xa2\x06.{1,5}?\n).", CAFFE),
    (rb"\x89HDF\r\n", Content("an HDF5 file, as of Keras weights")),
    (rb"GGUF", Content("a GGUF language model")),
    (rb"\x93NUMPY", Content("a NumPy array")),
    (rb"PK(\x03\x04|\x05\x06|\x07\x08)", Content("a ZIP archive", advice=UNPACK)),
    (rb"\x1f\x8b", Content("a gzip archive", advice=UNPACK)),
    (rb"Rar!\x1a\x07", Content("a RAR archive", advice=UNPACK)),
    (rb"7z\xbc\xaf\x27\x1c", Content("a 7z archive", advice=UNPACK)),
    (rb"BZh[1-9]1AY&SY", Content("a bzip2 archive", advice=UNPACK)),
    (rb"\xfd7zXZ\0", Content("an XZ archive", advice=UNPACK)),
    (rb"\x28\xb5\x2f\xfd", Content("a Zstandard archive", advice=UNPACK)),
    (rb".{257}ustar", Content("a tar archive", advice=UNPACK)),
    (rb"\x7fELF|MZ.{58}|\xcf\xfa\xed\xfe", Content("a program")),
    (rb"SQLite format 3", Content("a database")),
    (rb"\0{64}", Content("a file that begins with zeros", advice="its download may be unfinished")),
)
# The same for texts. They are matched behind what may stand before: see `PROLOG`.
TEXTS: tuple[tuple[bytes, Content], ...] = (
    (
        rb"version https://git-lfs",
        Content("a Git LFS pointer", advice="git lfs pull fetches the file itself"),
    ),
    (
        rb"/annex/objects/",
        Content("a git-annex pointer", advice="git annex get fetches the file itself"),
    ),
    (rb"d\d{1,3}:[a-z]", Content("a torrent", advice="download what it names")),
    (rb"#EXTM3U", Content("an HLS or M3U playlist", "playlist")),
    (rb"ffconcat version", Content("a list of files for ffmpeg (ffconcat)", "playlist")),
    (rb"v=0\r?\n(?s:.*)^[om]=", Content("a description of a stream (SDP)", "playlist")),
    (rb"(?i:\[playlist\]|\[reference\])", Content("a playlist", "playlist")),
    (
        rb"(?i:rtsptext|(rtsp|rtmp|mms|https?|ftp)://\S+\s*$)",
        Content("a list of addresses", "playlist"),
    ),
    (rb"<(\w+:)?MPD\b", Content("a DASH playlist (MPD)", "playlist")),
    (
        rb"(?i:<(\w+:)?"
        rb"(asx|smil|playlist|CompositionPlaylist|AssetMap|SmoothStreamingMedia)\b)",
        Content("a playlist", "playlist"),
    ),
    (
        rb"(?i:<(!doctype\s+html|html|head|body|title|script)\b)",
        Content("a web page", advice=FETCH),
    ),
    (rb"<(\w+:)?svg\b", Content("an SVG drawing", "photo", AS_PNG)),
    (rb"(?i:<(\w+:)?(error|\w*response)\b)", Content("an error message in XML", advice=FETCH)),
    (rb"<[\w!?]", Content("an XML file")),
    (
        rb"\{(?=\s*\")(?s:.*?)(?i:\"(error|errors|message|detail|code|statusCode)\"\s*:)",
        Content("a message in JSON", "json", FETCH),
    ),
    (rb"\{\s*[\"}]|\[\s*([{\"\d-]|\]\s*$)", Content("JSON", "json")),
)
# What may stand before the first element of an XML file or a web page.
PROLOG = re.compile(
    rb"\s*(<\?xml(?s:.*?)\?>\s*)?((<!--(?s:.*?)-->|<!DOCTYPE (?!(?i:html))[^>]*>)\s*)*"
)
PLAIN_TEXT = re.compile(rb"[\t\n\f\r\x1b\x20-\x7e\x80-\xff]*")


def content_of(head: bytes) -> Content | None:
    """The content of the file that begins with the bytes `head`; None if it is not known."""
    for sign, content in BINARY:
        if re.match(sign, head, re.DOTALL):
            return content
    text = _as_utf8(head)
    bare = text[match.end() :] if (match := PROLOG.match(text)) else text
    for sign, content in TEXTS:
        if re.match(sign, bare, re.MULTILINE):
            return content
    return Content("a text", "text") if text and PLAIN_TEXT.fullmatch(text) else None


def _as_utf8(head: bytes) -> bytes:
    """The text `head`, which may be UTF-16 with a byte order mark, as UTF-8 without one. Empty if
    it is no text. Its last letter may be cut off."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        head = head.decode("utf-16", "replace").encode()
    try:
        head.decode()
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4:
            return b""
    return head.removeprefix(b"\xef\xbb\xbf")
