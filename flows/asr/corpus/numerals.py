"""Numbers in text: digits to words with num2words, and one spelling for each Swedish numeral."""

from __future__ import annotations

import re
from functools import cache, lru_cache

PERCENT_SIGNS = {"%": "procent", "‰": "promille"}
ONES = "ett två tre fyra fem sex sju åtta nio".split()
TEENS = "tio elva tolv tretton fjorton femton sexton sjutton arton nitton".split()
TENS = "tjugo trettio fyrtio femtio sextio sjuttio åttio nittio".split()
COMMON_GENDER = (
    "dag gång krona meter miljard miljon minut månad procent promille sekund timme vecka".split()
)  # take en, not ett
MONTHS = "januari februari mars april maj juni juli augusti september oktober november december".split()
VALUES = dict(zip(TENS + TEENS + ONES + ["en"], [*range(20, 100, 10), *range(10, 20), *range(1, 10), 1], strict=True))
NUMERAL_PART = re.compile("|".join([*VALUES, "hundra", "tusen"]))  # sextio before sexton before sex
NUMBER = re.compile(  # a group of digits, a number or not: 1 000, 3,5, 14.30, 10–12, 08-12 34, 2024-05-01
    r"((?<!\S)[-–−])?(?<![^\W_]|[\u0300-\u036f])([0-9]+(?:[ .,:/–-][0-9]+)*)(?![^\W_]|[\u0300-\u036f])"
    r"(:[aeAE](?![^\W_])|-(?=[a-zåäö]))?(?=(?:\s([^\W\d_]+))?)"  # the suffix of 3:e and 90-tal; the next word
)
COMMA_LANGUAGES = "ar bn cy en fa he ja kn ko te th".split()  # separate thousands by a comma; the others by a point


def spell_out(text: str, language: str, one: str = "1") -> str:
    """Write digits as words, if num2words knows the language; what is not read as a number (08-12 34) stays.

    Swedish is fully supported; elsewhere only whole numbers, because num2words drops the decimals of Italian and Welsh.
    A lone 1 before a Swedish word becomes `one`: en or ett depends on the noun's gender, which may be unknown.

    >>> spell_out("den 3:e maj 1999 kl. 14.30, 3,5 % av 1 000, 10–12 bär", "sv")
    'den tredje maj nittonhundranittionio kl. fjorton trettio, tre komma fem procent av tusen, tio till tolv bär'
    """

    def replace(match: re.Match[str]) -> str:
        sign, digits, suffix, next_word = match.groups("")
        parts = [_say_number(part, language) for part in digits.split(" ")]
        spoken = _say_number(digits, language) or " ".join(parts) * all(parts)
        if language != "sv":
            return spoken + suffix if spoken and not sign else match[0]
        if suffix.startswith(":") or next_word.lower() in MONTHS:  # den 3:e, den 3 maj
            return _to_words(int(digits), "sv", "ordinal") if re.fullmatch("[1-9][0-9]{0,2}", digits) else match[0]
        if digits == "1" and next_word:
            spoken = "en" if next_word.lower() in COMMON_GENDER else one
        return (sign and "minus ") + spoken if spoken not in ("", "1") else match[0]

    if language == "sv":
        text = re.sub(r"([0-9][\W_]*?) ?([%‰])", lambda match: f"{match[1]} {PERCENT_SIGNS[match[2]]}", text)
    return NUMBER.sub(replace, text)


def _say_number(digits: str, language: str) -> str:
    """One number in words, in Swedish also a time of day, a range or a decimal; "" for anything else."""
    group = "[ ,]" if language in COMMA_LANGUAGES else "[ .]"
    if re.fullmatch(rf"0|[1-9][0-9]{{0,8}}|[1-9][0-9]{{0,2}}(?:{group}[0-9]{{3}}){{1,2}}", digits):
        number = int(re.sub("[ .,]", "", digits))
        return (
            _say_year(number) if language == "sv" and re.fullmatch("1[1-9]..", digits) else _to_words(number, language)
        )
    if language != "sv":
        return ""
    if clock := re.fullmatch("([01]?[0-9]|2[0-3])[.:]([0-5][0-9])", digits):
        return (_to_words(int(clock[1]), "sv") + " " + _say_decimals(clock[2].replace("00", ""))).strip()
    for mark, word in (("–", " till "), (",", " komma "), (".", " komma ")):
        if digits.count(mark) == 1:
            first, _, last = digits.partition(mark)
            start, end = _say_number(first, "sv"), _say_number(last, "sv") if mark == "–" else _say_decimals(last)
            if start and end and (first + last).isdigit() and mark == "–" and int(first) >= int(last):
                word = " "  # 3–2 is a score and 1998–99 a season
            return start + word + end if start and end else ""
    return ""


def _say_decimals(digits: str) -> str:
    """The digits after hours or a decimal comma: 3,14 is tre komma fjorton; 3,05 and 3,141 are read digit by digit."""
    if not re.fullmatch("[0-9]{1,9}", digits):
        return ""
    return " ".join(_say_number(part, "sv") for part in ([digits] if re.fullmatch("[1-9][0-9]", digits) else digits))


def _say_year(number: int) -> str:
    """A number in hundreds, as 1999; 1500 kronor is read the same way."""
    return _to_words(number // 100, "sv") + "hundra" + (_to_words(number % 100, "sv") if number % 100 else "")


@lru_cache(10_000)
def _to_words(number: int, language: str, form: str = "cardinal") -> str:
    """The output of num2words, up to 999 999 999; "" if it does not know the language.

    Corrects its Swedish: förtio for 40, etttusen for 1000; and shortens etthundra and ettusen to hundra and tusen.
    """
    from num2words import CONVERTER_CLASSES, num2words

    code = {"am": "", "kk": "kz"}.get(language, language)  # its Amharic never returns, from about ten million on
    if code not in CONVERTER_CLASSES:
        return ""
    words = str(num2words(number, lang=code, to=form)).replace(",", "")
    if language != "sv":
        return words
    return re.sub("^ett?(?=hundra|tusen)", "", words.replace("förtio", "fyrtio").replace("ttt", "tt"))


def join_numerals(text: str) -> str:
    """Write every Swedish numeral in a lower-case text as one word, however it was spelled.

    >>> join_numerals("ett tusen, tusen två hundra fem".replace(",", "")), join_numerals("två tusen tjugofyra")
    ('etttusen tolvhundrafem', 'tjugohundratjugofyra')
    """
    return _numeral_pattern().sub(_join_numeral, text)


@cache
def _numeral_pattern() -> re.Pattern[str]:
    """A Swedish number in words up to 999 999, with or without spaces."""
    ones, tens, teens = map("|".join, (ONES, TENS, TEENS))
    below = f"(?:(?:{tens})(?: ?(?:{ones}|et(?=tusen))|en)?|{teens}|{ones}|et(?=tusen))"  # tjugoettusen has two t
    hundreds = f"(?:(?:(?:{ones}) ?)?hundra(?: ?{below})?|{below})"
    year = f"(?:{'|'.join(TEENS[1:])}|tjugo) ?hundra(?: ?{below})?"
    return re.compile(rf"(?<!\S)(?:(?:{hundreds} ?)?tusen(?: ?{hundreds})?|{year}|{hundreds})(?!\S)")


def _join_numeral(numeral: re.Match[str]) -> str:
    """Its canonical spelling; 1999 keeps its nitton and 100 its ett, so that neither merges with one before it."""
    thousands, below = 0, 0
    for part in NUMERAL_PART.findall(numeral[0].replace("ttu", "tttu")):
        if part == "tusen":
            thousands, below = 1000 * (below or 1), 0
        else:
            below = 100 * (below or 1) if part == "hundra" else below + VALUES[part]
    if 1100 <= (number := thousands + below) < 2100:
        return _say_year(number)
    return re.sub("^(?=hundra|tusen)", "ett", _to_words(number, "sv").replace(" ", ""))
