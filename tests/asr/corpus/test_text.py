"""Normalisation for training and for scoring."""

import unicodedata

import pytest
from asr.corpus import numerals, text
from hypothesis import example, given, settings
from hypothesis import strategies as st
from transformers.models.whisper.english_normalizer import BasicTextNormalizer

DEFAULT = ["unicode", "quotes", "dashes"]
LANGUAGES = st.sampled_from("sv en de fr ja ru fa ko tr hi th yo am cy xx".split())
UNICODE_TEXTS = st.text(st.characters(exclude_categories=()), max_size=40)  # surrogates and NULs as well
PIECES = """\
0 1 2 5 12 05 007 000 1999 2024 1 000 3,5 14.30 14:05 :e :a % ‰ & § - – — ‑ − -- … . , ; : / ' ’ ” « » ( ) [ ] < > _ ²
½ ﬁ Å ß Σ İ ğ ١ ９ ， 東京 หก क्या 🇸🇪 ett en två tjugo tjugoen nitton hundra tusen ettusen etttusen miljon procent
och bil tal t ex T bl o m s v d fl kl nr ca etc dvs osv pga [skratt] (x ♪ ♫ * *host* （ ）""".split()
ODD = [
    "a\u030a",
    "e\u0301",
    "J\u030c",
    "می\u200cخواهم",
    "👩\u200d🚀",
    *"\u200b\u00ad\ufeff\u00a0\u2028\r\n\t\x00\ud800\u202e",
]
MIXED_TEXTS = st.lists(st.sampled_from([*PIECES, *ODD, *[" "] * 40]), max_size=14).map("".join)
TEXTS = UNICODE_TEXTS | MIXED_TEXTS
STEPS = st.lists(st.sampled_from(list(text.STEPS)), unique=True)


def spell_numbers(figures):
    return text.normalize_transcript(figures, ["numbers"], "sv")


def is_same(first, second, rule="lenient", language="sv"):
    return text.normalize_for_scoring(first, rule, language) == text.normalize_for_scoring(second, rule, language)


STEP_CASES = [
    # step, original, expected
    ("unicode", "A\u030asa a\u0308r pa\u030a ide\u0301", "Åsa är på idé"),
    ("unicode", "\ufeffhej\u200b på\u00ad dig\x00\u202e\ud800", "hej på dig"),
    ("unicode", "ﬁn ﬂagga, ＡＢＣ　１２３！", "fin flagga, ABC 123!"),
    ("unicode", "1½ m² och 10\u00a0000\u202fkr", "1½ m² och 10 000 kr"),
    ("unicode", "hej\tdu\r\n där", "hej du där"),
    ("quotes", "”Hej”, sa “hon”, »ja« «nej» „jo‟", '"Hej", sa "hon", "ja" "nej" "jo"'),
    ("quotes", "it’s ‘so’ Lars´", "it's 'so' Lars'"),
    ("dashes", "han kom - och gick — till slut ― hem", "han kom – och gick – till slut – hem"),
    ("dashes", "-Hej.\n—Hej själv.", "– Hej. – Hej själv."),
    ("dashes", "e‑post, e‐post, mejl−adress", "e-post, e-post, mejl–adress"),
    ("dashes", "10–12, 10—12, 10‒12, 10−12", "10–12, 10–12, 10–12, 10–12"),
    ("dashes", "08-123 45 67 den 2024-05-01", "08-123 45 67 den 2024-05-01"),
    ("dashes", "Stockholm–Göteborg", "Stockholm–Göteborg"),
    ("dashes", "in- och utförsel, -ism, jag vill–", "in- och utförsel, -ism, jag vill–"),
    ("dashes", "no—yes -- well", "no – yes – well"),
    ("dashes", "−5 grader, –10 i natt", "-5 grader, -10 i natt"),
    ("dashes", "jaha…", "jaha..."),
    ("lower", "ÅÄÖ É Hej İ", "åäö é hej i"),
    ("asides", "[skratt] Hej (viskar), du! *suckar* Ja <ohörbart>", "Hej, du! Ja"),
    ("asides", "♪ la la la ♪ Hej ♫ på dig ♪♪ la ♪♪du", "Hej la du"),
    ("asides", "- (musik)\n- Hej. (ha [ha] ha)", "- Hej."),
    ("asides", "Anna Ek (S) och S:t Erik", "Anna Ek och S:t Erik"),
    ("asides", "stat(S)råd, bil(ar), (o)möjligt, f(x), [d]et, 3 * 4 * 5, x < y och y > z", "="),
    ("asides", "[skratt Hej, hon sa :) 1) ja", "="),
    ("unpunctuated", "Hej, du (där)! Vad? ”Jo” – så; 50 % & § 3.", "Hej du där Vad Jo så 50 % & § 3"),
    ("unpunctuated", "it's FN:s e-post, 3,5 av 14.30 in- och ut -5", "it's FN:s e-post 3,5 av 14.30 in och ut -5"),
]


@pytest.mark.parametrize(("step", "original", "expected"), STEP_CASES)
def test_each_step_writes_one_form(step, original, expected):
    assert text.normalize_transcript(original, [step], "sv") == (original if expected == "=" else expected)


@pytest.mark.parametrize("steps", [["asides"], [*DEFAULT, "asides"]])
@pytest.mark.parametrize("language", ["sv", "ja"])
def test_asides_in_all_brackets_are_removed(steps, language):
    assert text.normalize_transcript("（笑） 【音楽】 ［拍手］ (笑)", steps, language) == ""


ABBREVIATED = [
    ("t. ex. t ex t.ex t.ex. T ex", "t.ex. t.ex. t.ex. t.ex. T.ex."),
    ("bl. a., bl a, bl.a", "bl.a., bl.a., bl.a."),
    ("d.v.s. d v s dvs dvs.", "d.v.s. d.v.s. d.v.s. d.v.s."),
    ("o.s.v. o s v osv osv.", "o.s.v. o.s.v. o.s.v. o.s.v."),
    ("m. m., m m, m.fl, mfl", "m.m., m.m., m.fl., m.fl."),
    ("s k, fr o m, t. o. m., p g a, pga, f d", "s.k., fr.o.m., t.o.m., p.g.a., p.g.a., f.d."),
    ("kl 14, Kl.14, kl halv åtta", "kl. 14, Kl. 14, kl. halv åtta"),
    ("nr. 5, nr.5, ca. tio, ca 10", "nr 5, nr 5, ca tio, ca 10"),
    ("etc, etc. etc:etc, Etc.-etc", "etc., etc. etc.:etc, Etc.-etc"),
    ("och så vidare osv...", "och så vidare o.s.v..."),
]


@pytest.mark.parametrize(("original", "expected"), ABBREVIATED)
def test_swedish_abbreviations_are_written_in_one_form(original, expected):
    assert text.normalize_transcript(original, ["abbreviations"], "sv") == expected


@pytest.mark.parametrize(
    "original",
    ["bla bla", "tom from", "fem mm", "klocka", "S.K. Andersson", "F.D. Roosevelt", "catering", "Vad kostar det nr"],
)
def test_words_that_only_look_like_an_abbreviation_are_left(original):
    assert text.normalize_transcript(original, ["abbreviations"], "sv") == original


def test_other_languages_keep_their_abbreviations():
    assert text.normalize_transcript("t ex kl 14", ["abbreviations"], "da") == "t ex kl 14"


SPELLED = [
    ("0", "noll"),
    ("21", "tjugoett"),
    ("40", "fyrtio"),
    ("100", "hundra"),
    ("101", "hundraett"),
    ("1 000", "tusen"),
    ("1000", "tusen"),
    ("1.000", "tusen"),
    ("21 000", "tjugoettusen"),
    ("2 300 000", "två miljoner trehundratusen"),
    ("1999", "nittonhundranittionio"),
    ("1905", "nittonhundrafem"),
    ("1 999", "tusen niohundranittionio"),
    ("2024", "tvåtusentjugofyra"),
    ("1939–1945", "nittonhundratrettionio till nittonhundrafyrtiofem"),
    ("3,5", "tre komma fem"),
    ("3,14", "tre komma fjorton"),
    ("3.5", "tre komma fem"),
    ("0,05", "noll komma noll fem"),
    ("kl. 14.30", "kl. fjorton trettio"),
    ("14:05", "fjorton noll fem"),
    ("14:00", "fjorton"),
    ("den 3:e", "den tredje"),
    ("1:a och 2:a", "första och andra"),
    ("41:a", "fyrtioförsta"),
    ("100:e", "hundrade"),
    ("50 % eller 5%", "femtio procent eller fem procent"),
    ("10–12 grader", "tio till tolv grader"),
    ("kl. 8.30–17", "kl. åtta trettio till sjutton"),
    ("vann med 3–2", "vann med tre två"),
    ("säsongen 1998–99", "säsongen nittonhundranittioåtta nittionio"),
    ("den 3 maj", "den tredje maj"),
    ("1 Januari", "första Januari"),
    ("-5", "minus fem"),
    ("90-talet", "nittiotalet"),
    ("en 50-åring", "en femtioåring"),
    ("covid-19", "covid-nitton"),
    ("1, 2, 3", "ett, två, tre"),
    ("1 procent", "en procent"),
]


@pytest.mark.parametrize(("figures", "expected"), SPELLED)
def test_swedish_numbers_are_spelled_out(figures, expected):
    assert spell_numbers(figures) == expected


@pytest.mark.parametrize(
    "figures",
    [
        "08-123 45 67",
        "2024-05-01",
        "007",
        "5/12",
        "10²",
        "B12",
        "3a",
        "9" * 400,
        "9" * 9000,
        f"{'9' * 9000}–1",
        "1–" * 3000 + "1",
        "3," + "1" * 400,
        "١٢",
        "1,2,3",
        "10–12 maj",
        "17.4.1",
        "00:e",
        "½",
    ],
)
def test_digits_that_are_not_a_number_are_left(figures):
    assert spell_numbers(figures) == figures


def test_a_lone_1_is_left_if_the_gender_is_unknown():
    assert spell_numbers("1 bil och 1 hus, kapitel 1.") == "1 bil och 1 hus, kapitel ett."


@pytest.mark.parametrize(
    ("language", "original", "expected"),
    [
        ("en", "1,200 of 21", "one thousand two hundred of twenty-one"),
        ("de", "1.000.000", "eine Million"),
        ("nb", "21", "21"),
        ("zh", "21", "21"),
        ("am", "21", "21"),
        ("it", "3,5 e -5", "3,5 e -5"),
        ("kk", "5", "бес"),
    ],
)
def test_other_languages_spell_out_whole_numbers_if_they_are_supported(language, original, expected):
    assert text.normalize_transcript(original, ["numbers"], language) == expected


def test_steps_have_a_fixed_order():
    all_steps = list(text.STEPS)
    messy = "”T EX” kl 14.30 — 3,5 %…"
    assert text.normalize_transcript(messy, all_steps, "sv") == text.normalize_transcript(messy, all_steps[::-1], "sv")
    assert text.normalize_transcript(messy, all_steps, "sv") == "t ex kl fjorton trettio tre komma fem procent"


def test_without_steps_only_spaces_change():
    assert text.normalize_transcript("  T ex\n ”ja”  ", [], "sv") == "T ex ”ja”"


def test_languages_keep_the_characters_of_their_spelling():
    assert text.normalize_transcript("می\u200cخواهم", ["unicode"], "fa") == "می\u200cخواهم"
    assert text.normalize_transcript("你好，！１", ["unicode"], "zh") == "你好，！1"
    assert text.normalize_transcript("ISPARTA İZMİR", ["lower"], "tr") == "ısparta izmir"
    assert text.normalize_transcript("« Bonjour »", ["quotes"], "fr") == '"Bonjour"'


@settings(max_examples=400)
@given(TEXTS, STEPS, LANGUAGES)
def test_normalisation_is_idempotent(original, steps, language):
    once = text.normalize_transcript(original, steps, language)
    assert text.normalize_transcript(once, steps, language) == once


@settings(max_examples=400)
@given(TEXTS, st.sampled_from(list(text.STEPS)))
def test_each_step_is_idempotent(original, step):
    once = text.normalize_transcript(original, [step], "sv")
    assert text.normalize_transcript(once, [step], "sv") == once


@given(st.text(st.sampled_from([*"åäöéÅÄÖÉaz -–—'”.,1\u200b"]) | st.characters(), max_size=60))
def test_no_swedish_letter_is_lost_by_default(original):
    def letters(value):
        return [letter for letter in unicodedata.normalize("NFC", value) if letter in "åäöéÅÄÖÉ"]

    assert letters(text.normalize_transcript(original, DEFAULT, "sv")) == letters(
        original.translate(dict.fromkeys(range(0xFF00, 0xFFF0)))
    )


SAME_WORDS = [
    ("23", "tjugotre"),
    ("23", "tjugo tre"),
    ("1 000", "tusen"),
    ("1 000", "ettusen"),
    ("1000", "ett tusen"),
    ("105", "etthundrafem"),
    ("105", "hundra fem"),
    ("1999", "nittonhundranittionio"),
    ("1 999", "ett tusen niohundra nittionio"),
    ("2024", "tjugohundratjugofyra"),
    ("2024", "två tusen tjugofyra"),
    ("21 000", "tjugoettusen"),
    ("21 bilar", "tjugoen bilar"),
    ("2 300 000", "två miljoner trehundra tusen"),
    ("1 miljon", "en miljon"),
    ("1 %", "en procent"),
    ("3,5", "tre komma fem"),
    ("10–12", "tio till tolv"),
    ("3 maj", "tredje maj"),
    ("3:e", "tredje"),
    ("90-talet", "nittiotalet"),
    ("12/34", "tolv trettiofyra"),
    ("kl. 14", "klockan fjorton"),
    ("Kl 14.30", "klockan fjorton trettio"),
    ("t.ex.", "till exempel"),
    ("T ex", "till exempel"),
    ("dvs.", "det vill säga"),
    ("d.v.s.", "det vill säga"),
    ("o.s.v.", "och så vidare"),
    ("fr.o.m.", "från och med"),
    ("nr 5", "nummer fem"),
    ("ca", "cirka"),
    ("e-post", "epost"),
    ("mejl-adress", "mejladress"),
    ("Å & Ä", "å och ä"),
    ("50 %", "femtio procent"),
    ("§ 5", "paragraf fem"),
]


@pytest.mark.parametrize(("first", "second"), SAME_WORDS)
def test_lenient_equates_two_spellings_of_the_same_words(first, second):
    assert is_same(first, second)
    assert not is_same(first, second, "basic")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("idé", "ide"),
        ("armé", "arme"),
        ("en hund", "ett hund"),
        ("nio", "tio"),
        ("100", "1 000"),
        ("in- och ut", "inoch ut"),
    ],
)
def test_lenient_distinguishes_different_words(first, second):
    assert not is_same(first, second)


@pytest.mark.parametrize(
    ("first", "second"), [("3.5", "3,5"), ("10-12", "10–12"), ("14.30", "14:30"), ("”Hej”", "hej!")]
)
def test_lenient_finds_no_difference_that_basic_does_not(first, second):
    assert is_same(first, second)
    assert is_same(first, second, "basic")


def test_lenient_reads_a_numeral_only_where_it_is_one():
    sentence = "hundratals tusentals fem sex sju tolv tretton ettan tvåa femtioåring tre och en halv"
    assert text.normalize_for_scoring(sentence, "lenient", "sv") == sentence


def test_lenient_in_other_languages_is_basic_and_numbers():
    assert is_same("21 men", "twenty-one men", language="en")
    assert is_same("21 xx!", "21 XX", language="zh")


def test_verbatim_counts_case_and_punctuation():
    assert is_same("A\u030asa  säger: Hej! ", "Åsa säger: Hej!", "verbatim")
    assert not is_same("Hej", "hej", "verbatim")
    assert not is_same("Hej!", "Hej", "verbatim")


@pytest.mark.parametrize("rule", list(text.RULES))
def test_a_letter_in_two_unicode_forms_is_the_same_word(rule):
    sentence = "Åsa är på ön, à la carte med ÉN idé ≮ tre > två"
    assert is_same(sentence, unicodedata.normalize("NFD", sentence), rule)


@settings(max_examples=400)
@given(
    TEXTS, st.sampled_from([("whisper", "sv"), ("whisper", "hi"), *(("basic", name) for name in ("sv", "en", "ru"))])
)
@example("Hej (skratt) [musik] <brus> på 10 000 m² – 3,5 %!", ("basic", "sv"))
@example("Kl. 14.30, t.ex. FN:s e-post… ½ ﬁ １２ İ", ("basic", "sv"))
def test_the_whisper_rule_equals_whispers_normaliser_and_so_does_basic_without_marks(original, rule_and_language):
    original = unicodedata.normalize("NFC", original)
    assert text.normalize_for_scoring(original, *rule_and_language) == " ".join(BasicTextNormalizer()(original).split())


@pytest.mark.parametrize(
    ("language", "first", "second"),
    [
        ("hi", "कितनी", "कितने"),
        ("bn", "কাল", "কুল"),
        ("ta", "கிளி", "கிளை"),
        ("ml", "കിളി", "കുളി"),
        ("th", "ปา", "ป่า"),
        ("lo", "ປາ", "ປ່າ"),
        ("my", "ကို", "ကူ"),
        ("km", "ទិន", "ទុន"),
        ("yo", "ọ̀wọ̀", "ọwọ́"),
    ],
)
def test_another_vowel_sign_or_tone_makes_another_word(language, first, second):
    assert not is_same(first, second, "basic", language)
    assert not is_same(first, second, "lenient", language)
    assert text.normalize_for_scoring(f"«{first}!»", "basic", language) == unicodedata.normalize("NFKC", first)


@pytest.mark.parametrize(
    ("language", "first", "second"),
    [("ar", "كِتَابٌ", "كتاب"), ("he", "שָׁלוֹם", "שלום"), ("fa", "مُحمّد", "محمد"), ("ur", "اُردُو", "اردو")],
)
def test_optional_vowels_are_no_error(language, first, second):
    assert is_same(first, second, "basic", language)
    assert not is_same(first, second, "whisper", language)


def test_an_emoji_leaves_no_word_behind():
    assert "\ufe0f" in "❤️"
    assert is_same("नमस्ते ❤️", "नमस्ते", "basic", "hi")


def test_every_language_whose_script_has_vowel_signs_keeps_them():
    named = (unicodedata.name(chr(point), "") for point in range(0x0900, 0x2000))
    scripts = {name.split()[0] for name in named if "VOWEL SIGN" in name} & set(text.SCRIPTS)
    assert len(scripts) > 10
    assert set(" ".join(text.SCRIPTS[script] for script in scripts).split()) <= text.MARK_LANGUAGES


@pytest.mark.parametrize(
    ("language", "original", "units"),
    [
        ("zh", "你好，世界 GPU 5！", "你 好 世 界 g p u 5"),
        ("ja", "が カ\u3099、ｶﾞ", "が ガ ガ"),
        ("th", "ที่นี่ ครับ", "ที่ นี่ ค รั บ"),
        ("km", "ខ្មែរ\u200bល្អ", "ខ្ មែ រ ល្ អ"),
        ("ko", "안녕 하세요", "안녕 하세요"),
        ("vi", "Việt Nam", "việt nam"),
        ("th", "\u0e48 ก", "\u0e01"),
    ],
)
def test_without_spaces_between_words_each_character_counts_with_its_marks(language, original, units):
    assert text.split_units(original, "basic", language) == units.split()
    assert (text.rate_unit(language) == "character") == (language not in ("ko", "vi"))


@settings(max_examples=400)
@given(TEXTS, st.sampled_from(list(text.RULES)), LANGUAGES)
def test_scoring_normalisation_is_idempotent(original, rule, language):
    once = text.normalize_for_scoring(original, rule, language)
    assert text.normalize_for_scoring(once, rule, language) == once


NUMERALS = [
    *numerals.ONES,
    *numerals.TENS,
    *numerals.TEENS,
    "en",
    "hundra",
    "tusen",
    "ettusen",
    "tjugoett",
    "miljon",
    "100",
    "1",
    "1999",
    "x",
]


@settings(max_examples=400)
@given(st.lists(st.sampled_from(NUMERALS), max_size=8).map(" ".join))
def test_scoring_normalisation_of_numerals_is_idempotent(original):
    once = text.normalize_for_scoring(original, "lenient", "sv")
    assert text.normalize_for_scoring(once, "lenient", "sv") == once


@given(st.integers(0, 999_999_999))
def test_a_number_is_the_same_in_digits_and_in_words(number):
    assert is_same(str(number), spell_numbers(f"{number:,}".replace(",", " ")))


FOREIGN_LETTERS = [
    ("Åsa, Örjan & Ängla à la carte – idé 5 %!", "sv", None, 0),
    ("A\u030asa i São Paulo, François, Łukasz, Dvořák", "sv", None, 1),  # ř
    ("Привет", "sv", None, 6),
    ("Привет, iPhone 15", "ru", None, 0),
    ("Здраво zdravo", "sr", None, 0),
    ("東京タワーへ行く々ABC、ｱ１", "ja", None, 0),
    ("안녕 漢字", "ko", None, 0),
    ("안녕", "ja", None, 2),
    ("हिन्दी", "hi", None, 0),
    ("Zażółć Привет", "pl", None, 6),
    ("Hej Å", "sv", "hej", 1),
    ("HEJ straße", "sv", "hejstraß", 0),
    ("hej", "sv", "HEJ", 0),
    ("hej", "sv", "", 3),
    ("123 \u0301\u200d🙂 _", "sv", "a", 0),
]


@pytest.mark.parametrize(("original", "language", "alphabet", "count"), FOREIGN_LETTERS)
def test_foreign_letters_are_counted(original, language, alphabet, count):
    assert text.count_foreign_letters(original, language, alphabet) == count


def test_every_language_of_whisper_has_a_script():
    from transformers.models.whisper.tokenization_whisper import LANGUAGES

    assert set(" ".join(text.SCRIPTS.values()).split()) <= set(LANGUAGES)
    assert set(LANGUAGES) >= text.MARK_LANGUAGES | text.OPTIONAL_MARK_LANGUAGES | text.SPACELESS_LANGUAGES


@pytest.mark.parametrize(
    ("original", "count"),
    [
        ("", 0),
        (" – ... ", 0),
        ("Hej, du – där!", 3),
        ("3,5 %", 1),
        ("東京へ行く", 3),
        ("ไปไหน", 3),
        ("我 use Python", 3),
        ("안녕 하세요", 2),
    ],
)
def test_spoken_words_are_counted(original, count):
    assert text.count_words(original) == count


@given(TEXTS, LANGUAGES)
def test_any_text_can_be_checked_for_words(original, language):
    assert text.is_wordless(original) == (text.count_words(original) == 0)
    assert 0 <= text.count_foreign_letters(original, language) <= len(unicodedata.normalize("NFC", original))
