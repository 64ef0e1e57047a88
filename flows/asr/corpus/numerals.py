"""Numbers as they are said: figures into words through num2words, and the spellings of a Swedish numeral into one."""

from __future__ import annotations

import re
from functools import cache, lru_cache

SHARES = {"%": "procent", "‰": "promille"}
ONES = "ett två tre fyra fem sex sju åtta nio".split()
TEENS = "tio elva tolv tretton fjorton femton sexton sjutton arton nitton".split()
TENS = "tjugo trettio fyrtio femtio sextio sjuttio åttio nittio".split()
COMMON = "dag gång krona meter miljard miljon minut månad procent promille sekund timme vecka".split()  # en, not ett
MONTHS = "januari februari mars april maj juni juli augusti september oktober november december".split()
VALUES = dict(zip(TENS + TEENS + ONES + ["en"], [*range(20, 100, 10), *range(10, 20), *range(1, 10), 1], strict=True))
PARTS = re.compile("|".join([*VALUES, "hundra", "tusen"]))  # sextio before sexton before sex
FIGURES = re.compile(  # that hang together, a number or not: 1 000, 3,5, 14.30, 10–12, 08-12 34, 2024-05-01
    r"((?<!\S)[-–−])?(?<![^\W_]|[\u0300-\u036f])([0-9]+(?:[ .,:/–-][0-9]+)*)(?![^\W_]|[\u0300-\u036f])"
    r"(:[aeAE](?![^\W_])|-(?=[a-zåäö]))?(?=(?:\s([^\W\d_]+))?)"  # the end of 3:e and of 90-tal; the word that follows
)
COMMAS = "ar bn cy en fa he ja kn ko te th".split()  # part thousands by a comma; the others by a point


def said(text: str, language: str, one: str = "1") -> str:
    """Figures as words, where num2words knows the language; what is not read as a number (08-12 34) stays.

    Swedish in full; elsewhere whole numbers, for num2words drops the decimals of Italian and Welsh. A lone 1 before
    a Swedish word becomes `one`: en or ett is the noun's to say, and where that is not known a figure is not wrong.

    >>> said("den 3:e maj 1999 kl. 14.30, 3,5 % av 1 000, 10–12 bär", "sv")
    'den tredje maj nittonhundranittionio kl. fjorton trettio, tre komma fem procent av tusen, tio till tolv bär'
    """

    def in_words(found: re.Match[str]) -> str:
        sign, figures, tail, word = found.groups("")
        several = [_number(part, language) for part in figures.split(" ")]
        heard = _number(figures, language) or " ".join(several) * all(several)
        if language != "sv":
            return heard + tail if heard and not sign else found[0]
        if tail.startswith(":") or word.lower() in MONTHS:  # den 3:e, den 3 maj
            return _spelled(int(figures), "sv", "ordinal") if re.fullmatch("[1-9][0-9]{0,2}", figures) else found[0]
        if figures == "1" and word:
            heard = "en" if word.lower() in COMMON else one
        return (sign and "minus ") + heard if heard not in ("", "1") else found[0]

    if language == "sv":
        text = re.sub(r"([0-9][\W_]*?) ?([%‰])", lambda found: f"{found[1]} {SHARES[found[2]]}", text)
    return FIGURES.sub(in_words, text)


def _number(figures: str, language: str) -> str:
    """One number as it is said, in Swedish also a time of day, a range or a decimal; "" for anything else."""
    group = "[ ,]" if language in COMMAS else "[ .]"
    if re.fullmatch(rf"0|[1-9][0-9]{{0,8}}|[1-9][0-9]{{0,2}}(?:{group}[0-9]{{3}}){{1,2}}", figures):
        number = int(re.sub("[ .,]", "", figures))
        return _year(number) if language == "sv" and re.fullmatch("1[1-9]..", figures) else _spelled(number, language)
    if language != "sv":
        return ""
    if clock := re.fullmatch("([01]?[0-9]|2[0-3])[.:]([0-5][0-9])", figures):
        return (_spelled(int(clock[1]), "sv") + " " + _after(clock[2].replace("00", ""))).strip()
    for mark, word in (("–", " till "), (",", " komma "), (".", " komma ")):
        if figures.count(mark) == 1:
            first, _, last = figures.partition(mark)
            start, end = _number(first, "sv"), _number(last, "sv") if mark == "–" else _after(last)
            if start and end and (first + last).isdigit() and mark == "–" and int(first) >= int(last):
                word = " "  # 3–2 is a score and 1998–99 a season
            return start + word + end if start and end else ""
    return ""


def _after(digits: str) -> str:
    """What follows hours or a decimal comma: 3,14 is tre komma fjorton, 3,05 and 3,141 go figure by figure."""
    if not re.fullmatch("[0-9]{1,9}", digits):
        return ""
    return " ".join(_number(part, "sv") for part in ([digits] if re.fullmatch("[1-9][0-9]", digits) else digits))


def _year(number: int) -> str:
    """1999 in hundreds; so are 1500 kronor said."""
    return _spelled(number // 100, "sv") + "hundra" + (_spelled(number % 100, "sv") if number % 100 else "")


@lru_cache(10_000)
def _spelled(number: int, language: str, form: str = "cardinal") -> str:
    """What num2words says, up to 999 999 999; "" where it does not know the language.

    In its Swedish 40 is förtio and 1000 etttusen; one also says hundra and tusen for etthundra and ettusen.
    """
    from num2words import CONVERTER_CLASSES, num2words

    code = {"am": "", "kk": "kz"}.get(language, language)  # in Amharic it never ends, from some ten million on
    if code not in CONVERTER_CLASSES:
        return ""
    said = str(num2words(number, lang=code, to=form)).replace(",", "")
    if language != "sv":
        return said
    return re.sub("^ett?(?=hundra|tusen)", "", said.replace("förtio", "fyrtio").replace("ttt", "tt"))


def one_word(text: str) -> str:
    """Every Swedish numeral in a text of lower-case words as one word, however it was spelt.

    >>> one_word("ett tusen, tusen två hundra fem".replace(",", "")), one_word("två tusen tjugofyra")
    ('etttusen tolvhundrafem', 'tjugohundratjugofyra')
    """
    return _numeral().sub(_joined, text)


@cache
def _numeral() -> re.Pattern[str]:
    """A Swedish number in words up to 999 999, run together or not."""
    ones, tens, teens = map("|".join, (ONES, TENS, TEENS))
    below = f"(?:(?:{tens})(?: ?(?:{ones}|et(?=tusen))|en)?|{teens}|{ones}|et(?=tusen))"  # tjugoettusen has two t
    hundreds = f"(?:(?:(?:{ones}) ?)?hundra(?: ?{below})?|{below})"
    year = f"(?:{'|'.join(TEENS[1:])}|tjugo) ?hundra(?: ?{below})?"
    return re.compile(rf"(?<!\S)(?:(?:{hundreds} ?)?tusen(?: ?{hundreds})?|{year}|{hundreds})(?!\S)")


def _joined(numeral: re.Match[str]) -> str:
    """Its one spelling, in which 1999 keeps its nitton and 100 its ett, lest they join a numeral before them."""
    thousands, below = 0, 0
    for part in PARTS.findall(numeral[0].replace("ttu", "tttu")):
        if part == "tusen":
            thousands, below = 1000 * (below or 1), 0
        else:
            below = 100 * (below or 1) if part == "hundra" else below + VALUES[part]
    if 1100 <= (number := thousands + below) < 2100:
        return _year(number)
    return re.sub("^(?=hundra|tusen)", "ett", _spelled(number, "sv").replace(" ", ""))
