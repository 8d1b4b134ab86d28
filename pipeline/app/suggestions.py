"""What an unknown option may stand for: an option of the command, or a setting."""

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches

from dreamreel.pipeline.config.fields import all_fields
from dreamreel.pipeline.config.grammar import MEANT as SETTINGS_MEANT

# Words of other programs, and what they are called here: an option, or a setting. Those that stand
# for a setting in `--set` as well are in `grammar.MEANT`.
MEANT = {
    **dict.fromkeys(("quality", "bitrate", "qp", "cq"), "--crf"),
    **dict.fromkeys(("intensity", "amount", "power"), "--strength"),
    **dict.fromkeys(("iterations", "iter", "iters"), "--steps"),
    **dict.fromkeys(("model", "net"), "--network"),
    **dict.fromkeys(("layer", "channel"), "--layers"),
    **dict.fromkeys(("length", "duration"), "--seconds"),
    **dict.fromkeys(("resolution", "height", "dimensions", "crop"), "--size"),
    **dict.fromkeys(("aspect", "ratio", "vertical", "square", "aspect-ratio"), "--crop"),
    **dict.fromkeys(("rotate", "spin", "turn"), "camera.rotation"),
    **dict.fromkeys(("mute", "no-sound", "silent"), "--no-audio"),
    **dict.fromkeys(("music", "song", "sound"), "--audio"),
    **dict.fromkeys(("style", "look", "theme"), "--preset"),
    **dict.fromkeys(("gpu", "cuda", "cpu"), "--device"),
    **dict.fromkeys(("force", "yes", "replace"), "--overwrite"),
    **dict.fromkeys(("out", "outfile", "dest"), "--output"),
    **dict.fromkeys(("framerate", "frame-rate", "rate"), "--fps"),
    **dict.fromkeys(("from", "begin", "ss"), "--start"),
    **dict.fromkeys(("until", "stop"), "--end"),
    **dict.fromkeys(("frame", "picture"), "--still"),
    "alpha": "dream.mix",
    **dict.fromkeys(("blur", "smooth"), "dream.smoothing"),
    **dict.fromkeys(("size-x", "scale"), "--width"),
    **dict.fromkeys(("resume",), "--continue"),
    **dict.fromkeys(("speed", "zoom-speed"), "camera.zoom"),
    **dict.fromkeys(("preview", "draft", "fast"), "--preset draft"),
}
ALIKE = 0.75  # difflib's ratio, 0 to 1: a slip of a letter or two scores above it


def suggestion(
    option: str, options: Sequence[str], others: Mapping[str, Sequence[str]] | None = None
) -> str:
    """What to give in place of the unknown `option` of a command that takes `options`: the option
    or the setting that is called so, means so, is spelled alike, or is described so. `others` has
    the options of the other commands, by the command's name: one of them may be meant."""
    word = option.strip("-").lower()
    taken = {name for name in options if name.startswith("--")}
    called = [name for name in all_fields() if _last(name) == word.replace("-", "_")]
    meant = MEANT.get(word) or SETTINGS_MEANT.get(word.replace("-", "_"), "")
    takes_settings = "--set" in taken
    if meant.split(" ")[0] in taken:
        return f"; here it is {meant}"
    if meant in all_fields():
        called.append(meant)
    settings = " or ".join(map(_set, called))
    takers = [name for name, taken in (others or {}).items() if option in taken]
    if takers and takes_settings:
        here = f", and here there is {settings}" if called else ""
        return f"; dreamreel {_listed(takers)} {'takes' if len(takers) == 1 else 'take'} it{here}"
    if called and takes_settings:
        return f"; did you mean {settings}?"
    alike = get_close_matches(f"--{word}", sorted(taken), n=2, cutoff=ALIKE)
    if alike:
        return f"; did you mean {' or '.join(alike)}?"
    told = [
        name
        for name, field in all_fields().items()
        if len(word) > 2 and re.search(rf"\b{re.escape(word)}", field.description or "")
    ]
    if told and takes_settings:
        return f"; did you mean {_set(told[0])}?"
    return "; --help lists the options"


def _listed(names: Sequence[str]) -> str:
    """The `names` as a list in a sentence: `a, b and c`."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def _set(name: str) -> str:
    """How the setting `name` is given, and what it means."""
    return f"--set {name}=VALUE ({all_fields()[name].description})"


def _last(name: str) -> str:
    return name.rpartition(".")[2]
