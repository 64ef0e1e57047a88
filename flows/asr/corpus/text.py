"""What the model should write, and what counts as the same word: two things, and two choices of a profile.

`written` makes one orthography of many hands, for training; `scored` makes one word of its spellings, and `units` are
what error rates then count. `foreign`, `words` and `wordless` judge a text before either.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from itertools import dropwhile
from typing import Any

from asr.corpus import numerals

QUOTES = str.maketrans(dict.fromkeys("”“„‟»«″", '"') | dict.fromkeys("’‘‚‛′´`", "'"))
STROKES = str.maketrans(dict.fromkeys("‐‑", "-") | dict.fromkeys("‒−", "–") | {"―": "—", "…": "..."})
SIGNS = numerals.SHARES | {"&": "och", "§": "paragraf"}
# As cut, and as said. Svenska skrivregler: a point after each word cut short, none in a contraction (ca, nr).
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
JOINED = ("d v s", "m fl", "o s v", "p g a")  # no other word when run together, as bla, from, mm and tom are
COUNTED = {"kl": ". ", "ca": " ", "nr": " "}  # cut only before what they count; and what follows them there
KEPT = re.compile("(?<=[x0])[-‐‑'’:](?=[x0])|(?<=0)[.,/–](?=0)|(?<!\\S)-(?=0)|[%‰&§]")  # of punctuation; see below
# What stands in brackets that touch no word (wide ones stand where nothing parts words), or between notes of music.
NOTES = "♩♪♫♬🎵🎶"
ASIDE = re.compile(
    r" ?(?<!\w)(?:\[[^][]*\]|\([^()]*\)|<(?!\s)[^<>]*(?<!\s)>|\*(?!\s)[^*]+(?<!\s)\*)(?!\w)"
    r"|［[^［］]*］|（[^（）]*）|【[^【】]*】"
    rf"| ?[{NOTES}]+(?:[^{NOTES}]*[{NOTES}]+)?(?P<touched>(?=\w))?"
)
# Unicode's name of a script, and Whisper's languages that are written in it.
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
UNSPACED = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR")
# Languages that put no space between words. Whisper's own figures count characters there (arXiv:2212.04356, appendix C:
# zh ja th lo my); Cantonese came later, and Khmer is written likewise.
SPACELESS = frozenset("ja km lo my th yue zh".split())
RATES = {"word": "WER", "character": "CER"}  # what an error rate is called, by what it counts
# Languages that spell with combining marks: the vowel signs of the scripts from Brahmi, and tones on letters such as ọ
# and ɛ that Unicode has no single character for. Whisper's rule makes a space of each (arXiv:2409.02449).
MARKED = frozenset("as bn bo gu hi km kn ln lo ml mr my ne pa sa si ta te th yo".split())
# Languages whose marks nearly every writer leaves out, and which are scored without them: arXiv:2412.13788 of Arabic,
# arXiv:2105.05209 of Hebrew.
POINTED = frozenset("ar fa he ps sd ur yi".split())
# CLDR's main and auxiliary letters; then those of names from Sweden's minorities and neighbours.
SWEDISH = "abcdefghijklmnopqrstuvwxyzåäöàé" + "áâãāçèëíîïīñóúÿüæø" + "êòôõûýßšžčđŋŧłðþ"


def written(text: str, steps: Sequence[str], language: str) -> str:
    """The text as the model should write it: its `steps`, in the order of `STEPS`, and single spaces.

    >>> written(" ”Hej”  —  sa  hon…", ["dashes", "quotes"], "sv")
    '"Hej" – sa hon...'
    """
    text = _spaced(unicodedata.normalize("NFC", text))
    for name, step in STEPS.items():
        if name in steps:
            text = _spaced(step(text, language))
    return " ".join(text.split())


def scored(text: str, rule: str, language: str) -> str:
    """The text as words to compare, under one of `RULES`.

    >>> scored("Kl. 14 kom t.ex. 23 mejl.", "basic", "sv")
    'kl 14 kom t ex 23 mejl'
    >>> scored("Kl. 14 kom t.ex. 23 mejl.", "lenient", "sv")
    'klockan fjorton kom till exempel tjugotre mejl'
    """
    return " ".join(RULES[rule](" ".join(unicodedata.normalize("NFC", text).split()), language).split())


def unit(language: str) -> str:
    """What the language's error rates count, "word" or "character"; `RATES` has their names.

    >>> RATES[unit("sv")], RATES[unit("zh")]
    ('WER', 'CER')
    """
    return "character" if language in SPACELESS else "word"


def units(text: str, rule: str, language: str) -> list[str]:
    """The text as what error rates count, under one of `RULES`: words, or each character with its marks.

    >>> units("Hej, du!", "basic", "sv"), units("你好，GPU", "basic", "zh"), units("ที่นี่", "basic", "th")
    (['hej', 'du'], ['你', '好', 'g', 'p', 'u'], ['ที่', 'นี่'])
    """
    text = scored(text, rule, language)
    if unit(language) == "word":
        return text.split()
    found = list[str]()
    for character in text:
        if found and _is_mark(character):
            found[-1] += character
        elif not (character.isspace() or unicodedata.category(character) == "Cf"):  # Khmer is typed with unseen spaces
            found.append(character)
    return found


def foreign(text: str, language: str, alphabet: str | None = None) -> int:
    """How many letters are not the language's: outside of `alphabet`, or of what its names and loanwords need.

    >>> foreign("Åsa läser Достоевский", "sv"), foreign("Åsa läser Достоевский", "ru"), foreign("Åsa", "sv", "as")
    (11, 0, 1)
    """
    letters = [letter for letter in unicodedata.normalize("NFC", text) if letter.isalpha()]
    if alphabet is None and language != "sv":
        own = {"LATIN", "MODIFIER"}  # names in Latin letters turn up in any script
        own |= {script for script, languages in SCRIPTS.items() if language in languages.split()}
        return sum(_script(letter) not in own for letter in letters)
    native = _native(SWEDISH if alphabet is None else alphabet)
    return sum(native.isdisjoint((letter, letter.lower())) for letter in letters)


@cache
def _native(alphabet: str) -> frozenset[str]:
    letters = set(unicodedata.normalize("NFC", alphabet))
    return frozenset(letters | {other for letter in letters for other in (letter.lower(), letter.upper())})


def words(text: str) -> int:
    """How many words are spoken; without spaces (Han, kana, Thai, Lao, Khmer, Burmese) two letters make one.

    >>> words("Vi ses kl. 8 – kanske!"), words("東京へ行く")
    (5, 3)
    """

    def spoken(token: str) -> int:
        heard = [letter for letter in token if letter.isalnum()]
        unspaced = sum(not letter.isascii() and letter.isalpha() and _script(letter) in UNSPACED for letter in heard)
        return (unspaced + 1) // 2 + (len(heard) > unspaced)

    return sum(map(spoken, text.split()))


def wordless(text: str) -> bool:
    """Whether there is nothing to say: no letter and no digit.

    >>> wordless(" – ... ♪"), wordless("7")
    (True, False)
    """
    return not any(map(str.isalnum, text))


@cache
def _script(letter: str) -> str:
    name = unicodedata.name(unicodedata.normalize("NFKC", letter)[0], "")
    return re.split("[ -]", name)[0].replace("IDEOGRAPHIC", "CJK")  # 々 and 〆


def _spaced(text: str) -> str:
    """Single spaces, and lines as yet: a dash that opens one is a speaker's."""
    return "\n".join(filter(None, (" ".join(line.split()) for line in text.splitlines())))


def _unicode(text: str, language: str) -> str:
    """NFC, of characters that show. NFKC would go further, and make 11⁄2 of 1½ and m2 of m²."""
    return unicodedata.normalize("NFC", "".join(_plain(character, language) for character in text))


@lru_cache(100_000)
def _plain(character: str, language: str) -> str:
    shape = unicodedata.decomposition(character).partition(" ")[0]
    if shape == "<wide>" and language in ("ja", "yue", "zh") and not character.isalnum():
        return character  # ，and ！ are how these write
    if shape in ("<wide>", "<narrow>", "<initial>", "<medial>", "<final>", "<isolated>") or "ﬀ" <= character <= "ﬆ":
        return unicodedata.normalize("NFKC", character)
    if character in "\u200c\u200d" and language in " ".join(SCRIPTS.values()).split():
        return character  # joiners spell, as in Persian
    hidden = unicodedata.category(character) in ("Cc", "Cf", "Co", "Cs") or "\ufe00" <= character <= "\ufe0f"
    return "" if hidden and not character.isspace() else character


def has_aside(text: str) -> bool:
    """Whether there is what the step "asides" would take away.

    >>> has_aside("Hej! [skratt]"), has_aside("bil(ar)")
    (True, False)
    """
    return bool(ASIDE.search(text))


def _asides(text: str, language: str) -> str:
    """Nothing that is only noted, in brackets or asterisks, no song between notes of music and none of these.

    What touches a word is a part of it, as in bil(ar), and a bracket that never closes stays.

    >>> _asides("[skratt] Hej (viskar), du! *host* Bil(ar) eller <ohörbart> f(x) = 3 * 4 * 5 ♪ la la ♪", "sv")
    ' Hej, du! Bil(ar) eller f(x) = 3 * 4 * 5'
    """
    while (less := ASIDE.sub(lambda found: "" if found["touched"] is None else " ", text)) != text:
        text = re.sub(r"(?m)(?<!\S)[-–—] *(?=[-–—] |$)", "", less)  # a speaker's, who has said nothing else
    return text


def _quotes(text: str, language: str) -> str:
    """Straight ones: Whisper's vocabulary has no curly one whole, and Swedish opens and closes with the same."""
    if language == "fr":
        text = re.sub(r"«\s*|\s*»", '"', text)
    return text.translate(QUOTES)


def _dashes(text: str, language: str) -> str:
    """A stroke keeps its kind, hyphen or dash, save where its place says more.

    Never a hyphen made a dash between figures: 08-12 may be a telephone. Never a dash made a hyphen between words:
    Stockholm–Göteborg is a stretch. A dash is short in Swedish; a long one that parts two words gets its spaces.

    >>> _dashes("-Hej — det är −5, e‑post, in- och utförsel, 10—12…", "sv")
    '– Hej – det är -5, e-post, in- och utförsel, 10–12...'
    """
    text = re.sub("[-–—]{2,}", "—", text.translate(STROKES))
    text = re.sub(r"(?<=[^\s\d])—(?=[^\s\d])", " – ", text).replace("—", "–")
    text = re.sub(r"(?<![^\s(])–(?=\d)", "-", text)  # minus
    text = re.sub(r"(?m)^[-–](?=[^\W\d_])", "– ", text)  # a speaker's, as subtitles have it
    return re.sub(r"(?<!\S)-(?!\S)", "–", text)


def _lower(text: str, language: str) -> str:
    text = (text.replace("I", "ı") if language in ("az", "tr") else text).replace("İ", "i")  # Python's is i and a dot
    return unicodedata.normalize("NFC", text.lower())  # ǰ is one character, its capital two


def _abbreviations(text: str, language: str) -> str:
    """
    >>> _abbreviations("T ex kl 8, t. o. m. nr. 3 osv", "sv")
    'T.ex. kl. 8, t.o.m. nr 3 o.s.v.'
    """
    for cut in ABBREVIATIONS if language == "sv" else ():
        rest = cut[1:].replace(" ", r"(?:\.\s?|\s)") + ("|" + cut[1:].replace(" ", "") if cut in JOINED else "")
        end = r"(?:\.\s?|\s)(?=[^\W_])" if cut in COUNTED else r"(?![^\W_])\.?"
        form = cut[1:].replace(" ", ".") + COUNTED.get(cut, ".")
        text = re.sub(
            rf"(?<![^\W_])(?<![^\W_][-:'’])([{cut[0]}{cut[0].upper()}])(?:{rest}){end}", rf"\g<1>{form}", text
        )
    return text


def _unpunctuated(text: str, language: str) -> str:
    """No punctuation but inside of words (e-post, it's, FN:s) and figures (3,5), a minus and what is read out (%)."""
    kinds = "".join("0" if c.isdigit() else "x" if unicodedata.category(c)[0] in "LMN" else c for c in text)
    kept = {found.start() for found in KEPT.finditer(kinds.replace("_", " "))}
    return "".join(
        " " if unicodedata.category(mark).startswith("P") and place not in kept else mark
        for place, mark in enumerate(text)
    )


@cache
def _normalizer(clean: Callable[[str], str] | None = None) -> Any:
    from transformers.models.whisper.english_normalizer import BasicTextNormalizer

    normalizer: Any = BasicTextNormalizer()
    if clean:
        normalizer.clean = clean
    return normalizer


def _whisper(text: str, language: str) -> str:
    """Whisper's own: lower case, no punctuation, nothing in brackets. After NFC, or ≮ in two parts opens one."""
    return " ".join(_normalizer()(text).split())


def _basic(text: str, language: str) -> str:
    """Whisper's, save that no mark parts a word in two: it stays where it spells, and goes where it may be left out.

    >>> _whisper("कितनी", "hi"), _basic("कितनी", "hi"), _basic("كِتَاب", "ar")
    ('क तन', 'कितनी', 'كتاب')
    """
    clean = _marked if language in MARKED else _unpointed if language in POINTED else None
    return " ".join(_normalizer(clean)(text).split())


def _marked(text: str) -> str:
    """A mark that opens a word belongs to no letter: emoji leave such."""
    return " ".join("".join(dropwhile(_is_mark, word)) for word in _unsigned(text).split())


def _unpointed(text: str) -> str:
    return "".join(character for character in _unsigned(text) if not _is_mark(character))


def _unsigned(text: str) -> str:
    """NFKC, with a space for every symbol and punctuation mark."""
    text = unicodedata.normalize("NFKC", text)
    return "".join(" " if unicodedata.category(character)[0] in "SP" else character for character in text)


def _is_mark(character: str) -> bool:
    return unicodedata.category(character).startswith("M")


def _lenient(text: str, language: str) -> str:
    """Basic, and figures are words; in Swedish so are signs and abbreviations, and a hyphen joins.

    Joined, for e-post is also written epost, and hardly e post. é stays é: idé is a thought, ide a bear's den.

    >>> _lenient("1 000 & ettusen e-postadresser", "sv") == _lenient("ett tusen och tusen epostadresser", "sv")
    True
    """
    if language == "sv":
        text = " ".join("".join(f" {SIGNS[sign]} " if sign in SIGNS else sign for sign in text).split())
        text = re.sub(r"(?<=[^\W\d_])[-‐‑](?=[^\W\d_])", "", text)
        text = re.sub("(?<=[0-9])[-‐‑](?=[0-9])", "–", text)  # 10-12 is 10–12 here, for nobody hears the difference
    text = _basic(numerals.said(text, language, "ett"), language)
    text = _basic(numerals.said(text, language, "ett"), language)  # again: 12/34 is 12 34 by now
    if language != "sv":
        return text
    long = ABBREVIATIONS | {cut.replace(" ", ""): ABBREVIATIONS[cut] for cut in JOINED}
    text = re.sub(rf"(?<!\S)({'|'.join(long)})(?!\S)", lambda found: long[found[1]], text)
    return numerals.one_word(text)


# In this order: asides before anything in them is changed; figures before lower case, for num2words writes German
# nouns; abbreviations while they have points.
STEPS: dict[str, Callable[[str, str], str]] = {
    "unicode": _unicode,
    "asides": _asides,
    "quotes": _quotes,
    "dashes": _dashes,
    "numbers": numerals.said,
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
