"""The base class of the tables, and the types of their fields."""

from __future__ import annotations

import reprlib
import unicodedata
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

MAX_NUMBER = 10**9  # of fields without a lower maximum


class Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def shorten(value: Any) -> str:
    """A value of the profile, shortened where it is long or deep."""
    short = reprlib.Repr()
    short.maxstring = short.maxother = short.maxlong = 120
    try:
        return short.repr(value)
    except ValueError:  # a hexadecimal number that Python does not print in decimal
        return "a number of thousands of digits"


def _check_maximum(number: float) -> float:
    if number > MAX_NUMBER:
        raise ValueError(f"{shorten(number)} is beyond {MAX_NUMBER:,}")
    return number


# Strict, so that "900" or true is not accepted as a number.
NonNegativeInt = Annotated[int, Field(ge=0, strict=True), AfterValidator(_check_maximum)]
PositiveInt = Annotated[int, Field(gt=0, strict=True), AfterValidator(_check_maximum)]
NonNegativeFloat = Annotated[float, Field(ge=0, strict=True), AfterValidator(_check_maximum)]
Seed = Annotated[int, Field(ge=0, lt=2**32, strict=True)]  # NumPy's maximum
Fraction = Annotated[float, Field(ge=0, le=1, strict=True)]
Flag = Annotated[bool, Field(strict=True)]
LearningRate = Annotated[float, Field(gt=0, lt=1, strict=True)]
ShortText = Annotated[str, Field(max_length=4_096, pattern=r"^[^\x00]*$")]  # the longest path on Linux
PathText = Annotated[ShortText, Field(min_length=1)]
RepoId = Annotated[str, Field(pattern=r"^([\w.-]+/)?[\w.-]{1,96}$", max_length=200)]
NormalizedName = Annotated[str, AfterValidator(lambda name: unicodedata.normalize("NFC", name.strip()))]

# Whisper's codes; the last one is new in large-v3.
LANGUAGES = frozenset(
    "en zh de es ru ko fr ja pt tr pl ca nl ar sv it id hi fi vi he uk el ms cs ro da hu ta no th ur hr bg lt la mi ml "
    "cy sk te fa lv bn sr az sl kn et mk br eu is hy ne mn bs kk sq sw gl mr pa si km sn yo so af oc ka be tg sd gu am "
    "yi lo uz fo ht ps tk nn mt sa lb my bo tl mg as tt haw ln ha ba jw su yue".split()
)
LANGUAGE_MISTAKES = {  # names and countries that are given for a language
    "se": "sv", "dk": "da", "nb": "no", "cn": "zh", "jp": "ja", "kr": "ko", "gr": "el", "cz": "cs", "ua": "uk",
    "swe": "sv", "swedish": "sv", "english": "en", "german": "de", "danish": "da", "norwegian": "no", "finnish": "fi",
    "iw": "he",
}  # fmt: skip


def _check_language(code: str) -> str:
    if code not in LANGUAGES:
        likely = LANGUAGE_MISTAKES.get(code.lower())
        raise ValueError(f"Whisper has no language {code!r}" + (f"; did you mean {likely}?" if likely else ""))
    return code


def _check_folder(place: Path) -> Path:
    if "\0" in str(place) or len(str(place)) > 4_096:
        raise ValueError(f"not a valid folder name: {str(place)[:80]!r}")
    return place


FolderPath = Annotated[Path, AfterValidator(_check_folder)]
Language = Annotated[str, AfterValidator(_check_language)]  # Whisper's code
