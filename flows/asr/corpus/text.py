"""Text normalisation: the orthography that the model learns, and the rules under which words are compared.

`normalize_transcript` gives transcripts one orthography for training; `normalize_for_scoring` gives the spellings of a
word one form, and `split_units` returns what error rates count. `count_foreign_letters`, `count_words` and
`is_wordless` check a text before either.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from itertools import dropwhile
from typing import Any

from asr.corpus import numerals

QUOTE_TABLE = str.maketrans(dict.fromkeys("”“„‟»«″", '"') | dict.fromkeys("’‘‚‛′´`", "'"))
DASH_TABLE = str.maketrans(dict.fromkeys("‐‑", "-") | dict.fromkeys("‒−", "–") | {"―": "—", "…": "..."})
SIGNS = numerals.PERCENT_SIGNS | {"&": "och", "§": "paragraf"}
# Svenska skrivregler: a point after each shortened word, none in a contraction (ca, nr).
ABBREVIATIONS = {
    "bl a": "bland annat",
    "d v s": "det vill säga",
    "etc": "et cetera",
    "f d": "före detta",
    "fr o m": "från och med",
    "m fl": "med flera",
    "m m": "med mera",
    "o s v": "och så vidare",
    "p g a": "på grund av",
    "s k": "så kallad",
    "t ex": "till exempel",
    "t o m": "till och med",
    "kl": "klockan",
    "ca": "cirka",
    "nr": "nummer",
}
JOINED_ABBREVIATIONS = ("d v s", "m fl", "o s v", "p g a")  # bla, from, mm and tom are other words
NUMBER_ABBREVIATIONS = {"kl": ". ", "ca": " ", "nr": " "}  # abbreviations only before a number; and what follows them
KEPT_PUNCTUATION = re.compile(
    "(?<=[x0])[-‐‑'’:](?=[x0])|(?<=0)[.,/–](?=0)|(?<!\\S)-(?=0)|[%‰&§]"
)  # punctuation that stays; see `_unpunctuated`
# Text in brackets that touch no word (wide ones also inside of text without spaces), or between music notes.
NOTES = "♩♪♫♬🎵🎶"
ASIDE = re.compile(
    r" ?(?<!\w)(?:\[[^][]*\]|\([^()]*\)|<(?!\s)[^<>]*(?<!\s)>|\*(?!\s)[^*]+(?<!\s)\*)(?!\w)"
    r"|［[^［］]*］|（[^（）]*）|【[^【】]*】"
    rf"| ?[{NOTES}]+(?:[^{NOTES}]*[{NOTES}]+)?(?P<touched>(?=\w))?"
)
# Unicode's name of each script, and Whisper's languages written in it.
SCRIPTS = {
    "ARABIC": "ar fa ps sd ur",
    "BENGALI": "as bn",
    "CJK": "ja ko yue zh",
    "CYRILLIC": "ba be bg kk mk mn ru sr tg tt uk uz",
    "DEVANAGARI": "hi mr ne sa",
    "HEBREW": "he yi",
} | dict(
    zip(
        "HIRAGANA KATAKANA HANGUL BOPOMOFO ARMENIAN ETHIOPIC GEORGIAN GREEK GUJARATI GURMUKHI KANNADA KHMER LAO "
        "MALAYALAM MYANMAR SINHALA TAMIL TELUGU THAI TIBETAN".split(),
        "ja ja ko zh hy am ka el gu pa kn km lo ml my si ta te th bo".split(),
        strict=True,
    )
)
UNSPACED_SCRIPTS = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR")
# Languages without spaces between words. Whisper's published rates count characters there (arXiv:2212.04356, appendix
# C: zh ja th lo my); Cantonese and Khmer are written the same way.
SPACELESS_LANGUAGES = frozenset("ja km lo my th yue zh".split())
RATES = {"word": "WER", "character": "CER"}  # the name of an error rate, by what it counts
# Languages spelled with combining marks: vowel signs of Brahmic scripts, and tones on letters such as ọ and ɛ that have
# no precomposed character. Whisper's normaliser replaces each by a space (arXiv:2409.02449).
MARK_LANGUAGES = frozenset("as bn bo gu hi km kn ln lo ml mr my ne pa sa si ta te th yo".split())
# Languages whose marks are usually omitted, and which are scored without them: arXiv:2412.13788 (Arabic),
# arXiv:2105.05209 (Hebrew).
OPTIONAL_MARK_LANGUAGES = frozenset("ar fa he ps sd ur yi".split())
# CLDR's main and auxiliary letters, then letters in names from Sweden's minorities and neighbours.
SWEDISH_LETTERS = "abcdefghijklmnopqrstuvwxyzåäöàé" + "áâãāçèëíîïīñóúÿüæø" + "êòôõûýßšžčđŋŧłðþ"


def normalize_transcript(text: str, steps: Sequence[str], language: str) -> str:
    """The text as the model should write it: the given steps in the order of `STEPS`, and single spaces.

    >>> normalize_transcript(" ”Hej”  —  sa  hon…", ["dashes", "quotes"], "sv")
    '"Hej" – sa hon...'
    """
    text = _collapse_spaces(unicodedata.normalize("NFC", text))
    for name, step in STEPS.items():
        if name in steps:
            text = _collapse_spaces(step(text, language))
    return " ".join(text.split())


def normalize_for_scoring(text: str, rule: str, language: str) -> str:
    """The text in the form in which words are compared, under one of `RULES`.

    >>> normalize_for_scoring("Kl. 14 kom t.ex. 23 mejl.", "basic", "sv")
    'kl 14 kom t ex 23 mejl'
    >>> normalize_for_scoring("Kl. 14 kom t.ex. 23 mejl.", "lenient", "sv")
    'klockan fjorton kom till exempel tjugotre mejl'
    """
    return " ".join(RULES[rule](" ".join(unicodedata.normalize("NFC", text).split()), language).split())


def rate_unit(language: str) -> str:
    """The unit of the language's error rates, "word" or "character"; `RATES` has their names.

    >>> RATES[rate_unit("sv")], RATES[rate_unit("zh")]
    ('WER', 'CER')
    """
    return "character" if language in SPACELESS_LANGUAGES else "word"


def split_units(text: str, rule: str, language: str) -> list[str]:
    """The units that error rates count, under one of `RULES`: words, or each character with its marks.

    >>> split_units("Hej, du!", "basic", "sv"), split_units("你好，GPU", "basic", "zh")
    (['hej', 'du'], ['你', '好', 'g', 'p', 'u'])
    >>> split_units("ที่นี่", "basic", "th")
    ['ที่', 'นี่']
    """
    text = normalize_for_scoring(text, rule, language)
    if rate_unit(language) == "word":
        return text.split()
    characters = list[str]()
    for character in text:
        if characters and _is_mark(character):
            characters[-1] += character
        elif not (character.isspace() or unicodedata.category(character) == "Cf"):  # Khmer uses zero-width spaces
            characters.append(character)
    return characters


def count_foreign_letters(text: str, language: str, alphabet: str | None = None) -> int:
    """How many letters are foreign to the language: not in `alphabet`, or not used in its names and loanwords.

    >>> [count_foreign_letters("Åsa läser Достоевский", language) for language in ("sv", "ru")]
    [11, 0]
    >>> count_foreign_letters("Åsa", "sv", "as")
    1
    """
    letters = [letter for letter in unicodedata.normalize("NFC", text) if letter.isalpha()]
    if alphabet is None and language != "sv":
        own = {"LATIN", "MODIFIER"}  # names in Latin letters occur in any script
        own |= {script for script, languages in SCRIPTS.items() if language in languages.split()}
        return sum(_script_of(letter) not in own for letter in letters)
    native = _alphabet_letters(SWEDISH_LETTERS if alphabet is None else alphabet)
    return sum(native.isdisjoint((letter, letter.lower())) for letter in letters)


@cache
def _alphabet_letters(alphabet: str) -> frozenset[str]:
    letters = set(unicodedata.normalize("NFC", alphabet))
    return frozenset(letters | {other for letter in letters for other in (letter.lower(), letter.upper())})


def count_words(text: str) -> int:
    """How many words are spoken; in scripts without spaces (Han, kana, Thai, Lao, Khmer, Burmese) two letters make one.

    >>> count_words("Vi ses kl. 8 – kanske!"), count_words("東京へ行く")
    (5, 3)
    """

    def spoken(token: str) -> int:
        letters = [letter for letter in token if letter.isalnum()]
        unspaced = sum(
            not letter.isascii() and letter.isalpha() and _script_of(letter) in UNSPACED_SCRIPTS for letter in letters
        )
        return (unspaced + 1) // 2 + (len(letters) > unspaced)

    return sum(map(spoken, text.split()))


def is_wordless(text: str) -> bool:
    """Whether there is no letter and no digit.

    >>> is_wordless(" – ... ♪"), is_wordless("7")
    (True, False)
    """
    return not any(map(str.isalnum, text))


@cache
def _script_of(letter: str) -> str:
    name = unicodedata.name(unicodedata.normalize("NFKC", letter)[0], "")
    return re.split("[ -]", name)[0].replace("IDEOGRAPHIC", "CJK")  # 々 and 〆


def _collapse_spaces(text: str) -> str:
    """Single spaces within lines; line breaks stay, since a dash at the start of a line marks a speaker."""
    return "\n".join(filter(None, (" ".join(line.split()) for line in text.splitlines())))


def _unicode(text: str, language: str) -> str:
    """NFC without invisible characters. NFKC would also turn 1½ into 11⁄2 and m² into m2."""
    return unicodedata.normalize("NFC", "".join(_normalize_character(character, language) for character in text))


@lru_cache(100_000)
def _normalize_character(character: str, language: str) -> str:
    shape = unicodedata.decomposition(character).partition(" ")[0]
    if shape == "<wide>" and language in ("ja", "yue", "zh") and not character.isalnum():
        return character  # the usual punctuation of these languages
    if shape in ("<wide>", "<narrow>", "<initial>", "<medial>", "<final>", "<isolated>") or "ﬀ" <= character <= "ﬆ":
        return unicodedata.normalize("NFKC", character)
    if character in "\u200c\u200d" and language in " ".join(SCRIPTS.values()).split():
        return character  # joiners are part of the spelling, as in Persian
    hidden = unicodedata.category(character) in ("Cc", "Cf", "Co", "Cs") or "\ufe00" <= character <= "\ufe0f"
    return "" if hidden and not character.isspace() else character


def has_aside(text: str) -> bool:
    """Whether there is text that the step "asides" would remove.

    >>> has_aside("Hej! [skratt]"), has_aside("bil(ar)")
    (True, False)
    """
    return bool(ASIDE.search(text))


def _asides(text: str, language: str) -> str:
    """Remove notes in brackets or asterisks, songs between music notes, and the music notes.

    Brackets that touch a word are part of it, as in bil(ar), and a bracket that is never closed stays.

    >>> _asides("[skratt] Hej (viskar), du! *host* Bil(ar) eller <ohörbart> f(x) = 3 * 4 * 5 ♪ la la ♪", "sv")
    ' Hej, du! Bil(ar) eller f(x) = 3 * 4 * 5'
    """
    while (shorter := ASIDE.sub(lambda match: "" if match["touched"] is None else " ", text)) != text:
        text = re.sub(r"(?m)(?<!\S)[-–—] *(?=[-–—] |$)", "", shorter)  # a speaker's dash without text
    return text


def _quotes(text: str, language: str) -> str:
    """Straight quotes: Whisper's vocabulary has no token for a curly one, and Swedish uses one mark on both sides."""
    if language == "fr":
        text = re.sub(r"«\s*|\s*»", '"', text)
    return text.translate(QUOTE_TABLE)


def _dashes(text: str, language: str) -> str:
    """Hyphens and dashes stay as they are unless their position determines the kind.

    A hyphen between digits never becomes a dash (08-12 may be a phone number), nor a dash between words a hyphen
    (Stockholm–Göteborg is a route). Swedish uses the short dash; a long one between two words gets spaces.

    >>> _dashes("-Hej — det är −5, e‑post, in- och utförsel, 10—12…", "sv")
    '– Hej – det är -5, e-post, in- och utförsel, 10–12...'
    """
    text = re.sub("[-–—]{2,}", "—", text.translate(DASH_TABLE))
    text = re.sub(r"(?<=[^\s\d])—(?=[^\s\d])", " – ", text).replace("—", "–")
    text = re.sub(r"(?<![^\s(])–(?=\d)", "-", text)  # minus
    text = re.sub(r"(?m)^[-–](?=[^\W\d_])", "– ", text)  # a speaker's dash, as in subtitles
    return re.sub(r"(?<!\S)-(?!\S)", "–", text)


def _lower(text: str, language: str) -> str:
    text = (text.replace("I", "ı") if language in ("az", "tr") else text).replace(
        "İ", "i"
    )  # Python would write i and a dot
    return unicodedata.normalize("NFC", text.lower())  # the capital of ǰ is two characters


def _abbreviations(text: str, language: str) -> str:
    """Swedish abbreviations with their points.

    >>> _abbreviations("T ex kl 8, t. o. m. nr. 3 osv", "sv")
    'T.ex. kl. 8, t.o.m. nr 3 o.s.v.'
    """
    for cut in ABBREVIATIONS if language == "sv" else ():
        rest = cut[1:].replace(" ", r"(?:\.\s?|\s)") + (
            "|" + cut[1:].replace(" ", "") if cut in JOINED_ABBREVIATIONS else ""
        )
        end = r"(?:\.\s?|\s)(?=[^\W_])" if cut in NUMBER_ABBREVIATIONS else r"(?![^\W_])\.?"
        form = cut[1:].replace(" ", ".") + NUMBER_ABBREVIATIONS.get(cut, ".")
        # Not within a word: after a letter, or after a letter or an abbreviation with such a sign.
        start = r"(?<![^\W_])(?<![^\W_][-:'’])(?<![^\W_]\.[-:'’])"
        text = re.sub(rf"{start}([{cut[0]}{cut[0].upper()}])(?:{rest}){end}", rf"\g<1>{form}", text)
    return text


def _unpunctuated(text: str, language: str) -> str:
    """No punctuation except in words (e-post, it's, FN:s) and numbers (3,5), a minus, and signs read aloud (%)."""
    kinds = "".join("0" if c.isdigit() else "x" if unicodedata.category(c)[0] in "LMN" else c for c in text)
    kept = {match.start() for match in KEPT_PUNCTUATION.finditer(kinds.replace("_", " "))}
    return "".join(
        " " if unicodedata.category(character).startswith("P") and position not in kept else character
        for position, character in enumerate(text)
    )


@cache
def _normalizer(clean: Callable[[str], str] | None = None) -> Any:
    from transformers.models.whisper.english_normalizer import BasicTextNormalizer

    normalizer: Any = BasicTextNormalizer()
    if clean:
        normalizer.clean = clean
    return normalizer


def _whisper(text: str, language: str) -> str:
    """Whisper's own rule: lower case, no punctuation, nothing in brackets. In NFC: a decomposed ≮ opens a bracket."""
    return " ".join(_normalizer()(text).split())


def _basic(text: str, language: str) -> str:
    """Whisper's rule without splitting words at combining marks: they stay if part of the spelling, else are dropped.

    >>> _whisper("कितनी", "hi"), _basic("कितनी", "hi"), _basic("كِتَاب", "ar")
    ('क तन', 'कितनी', 'كتاب')
    """
    clean = _clean_marks if language in MARK_LANGUAGES else _drop_marks if language in OPTIONAL_MARK_LANGUAGES else None
    return " ".join(_normalizer(clean)(text).split())


def _clean_marks(text: str) -> str:
    """Drops marks at the start of a word, which belong to no letter: removed emoji leave some."""
    return " ".join("".join(dropwhile(_is_mark, word)) for word in _drop_symbols(text).split())


def _drop_marks(text: str) -> str:
    return "".join(character for character in _drop_symbols(text) if not _is_mark(character))


def _drop_symbols(text: str) -> str:
    """NFKC, with a space for every symbol and punctuation mark."""
    text = unicodedata.normalize("NFKC", text)
    return "".join(" " if unicodedata.category(character)[0] in "SP" else character for character in text)


def _is_mark(character: str) -> bool:
    return unicodedata.category(character).startswith("M")


def _lenient(text: str, language: str) -> str:
    """The basic rule with numbers as words; in Swedish also signs and abbreviations, and without hyphens in words.

    A hyphen joins, because e-post is also written epost, and rarely e post. é stays: idé and ide are different words.

    >>> _lenient("1 000 & ettusen e-postadresser", "sv") == _lenient("ett tusen och tusen epostadresser", "sv")
    True
    """
    if language == "sv":
        text = " ".join("".join(f" {SIGNS[sign]} " if sign in SIGNS else sign for sign in text).split())
        text = re.sub(r"(?<=[^\W\d_])[-‐‑](?=[^\W\d_])", "", text)
        text = re.sub("(?<=[0-9])[-‐‑](?=[0-9])", "–", text)  # 10-12 sounds like 10–12
    text = _basic(numerals.spell_out(text, language, "ett"), language)
    text = _basic(numerals.spell_out(text, language, "ett"), language)  # again: 12/34 has become 12 34
    if language != "sv":
        return text
    long_forms = ABBREVIATIONS | {short.replace(" ", ""): ABBREVIATIONS[short] for short in JOINED_ABBREVIATIONS}
    text = re.sub(rf"(?<!\S)({'|'.join(long_forms)})(?!\S)", lambda match: long_forms[match[1]], text)
    return numerals.join_numerals(text)


# In this order: asides before their content changes; numbers before lower case, because num2words capitalises German
# nouns; abbreviations before their points go.
STEPS: dict[str, Callable[[str, str], str]] = {
    "unicode": _unicode,
    "asides": _asides,
    "quotes": _quotes,
    "dashes": _dashes,
    "numbers": numerals.spell_out,
    "lower": _lower,
    "abbreviations": _abbreviations,
    "unpunctuated": _unpunctuated,
}
RULES: dict[str, Callable[[str, str], str]] = {
    "basic": _basic,
    "whisper": _whisper,
    "lenient": _lenient,
    "verbatim": lambda text, language: text,
}
