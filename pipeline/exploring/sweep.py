"""A sweep: one picture with every combination of some settings, on a labelled grid."""

from dreamreel.pipeline.errors import UserError

OPEN, CLOSED, QUOTES = "([{", ")]}", "\"'"


def split_values(option: str, text: str) -> list[str]:
    """The values in `text`, between commas that are in no brackets or quotes. Raises UserError,
    which names `option`, if one is empty."""
    parts, depth, quote = [""], 0, ""
    for one in text:
        if quote:
            quote = "" if one == quote else quote
        elif one in QUOTES:
            quote = one
        else:
            depth += (one in OPEN) - (one in CLOSED)
        if one == "," and depth <= 0 and not quote:
            parts.append("")
        else:
            parts[-1] += one
    values = [part.strip() for part in parts]
    if not all(values):
        raise UserError(f"{option} {text!r:.80}: a value between two commas is missing")
    return values
