"""The texts of the page, in English and in Swedish."""

from __future__ import annotations

import re

import gradio as gr
from markupsafe import Markup, escape

LANGUAGES = ("en", "sv")
LANGUAGE_LABELS = ("English", "Svenska")
SPEECH_LANGUAGES = {"en": ("English", "engelska"), "sv": ("Swedish", "svenska")}

# The server fills in the {fields}. It knows the visitor's language by a cookie or Accept-Language.
TEXTS = {
    "title": ("{language} speech to text", "Tal till text på {language}"),
    "lead": (
        "Speak or upload a recording, and get it as text.",
        "Tala in eller ladda upp en inspelning och få den som text.",
    ),
    "transcribe": ("Transcribe", "Transkribera"),
    "live": ("Live", "Live"),
    "teach": ("Teach it", "Förbättra"),
    "about": ("About", "Om"),
    "microphone": ("Microphone", "Mikrofon"),
    "files": ("Audio or video files", "Ljud- eller videofiler"),
    "more": ("Add files", "Lägg till filer"),
    "limits": (
        "Up to {minutes} minutes and {megabytes} MB a file. Recordings are deleted within two hours.",
        "Högst {minutes} minuter och {megabytes} MB per fil. Inspelningar raderas inom två timmar.",
    ),
    "hints": ("Names and terms to listen for", "Namn och facktermer att lyssna efter"),
    "hints_example": ("Kiruna, Norra Kvarken, …", "Kiruna, Norra Kvarken, …"),
    "empty": ("The text appears here as it is transcribed.", "Texten visas här medan inspelningen transkriberas."),
    "empty_more": (
        "Then play any sentence from its time, correct the text, and download it as TXT, SRT, VTT, JSON or DOCX.",
        "Sedan kan du spela upp varje mening, rätta texten och ladda ner den som TXT, SRT, VTT, JSON eller DOCX.",
    ),
    "waiting": ("Waiting for its turn …", "Väntar på sin tur …"),
    "opening": ("Opening {name} …", "Öppnar {name} …"),
    "hearing": ("{name}: {heard} of {total}", "{name}: {heard} av {total}"),
    "left": ("about {left} left", "cirka {left} kvar"),
    "done": ("Done: {total} of audio in {took} s.", "Klart: {total} ljud på {took} s."),
    "done_some": (
        "Done, but {failed} of {files} files gave no text.",
        "Klart, men {failed} av {files} filer gav ingen text.",
    ),
    "stop": ("Stop", "Stoppa"),
    "halted": ("Stopped. The text so far is kept.", "Stoppat. Texten så långt finns kvar."),
    "failed": ("There is no text.", "Det blev ingen text."),
    "play": ("Play from", "Spela upp från"),
    "take": ("Download the text", "Ladda ner texten"),
    "copy": ("Copy", "Kopiera"),
    "edit": ("Correct the text", "Rätta texten"),
    "to_teach": ("Give the correction to training", "Bidra med rättningen till träning"),
    "all": ("All texts in one ZIP:", "Alla texter i en ZIP:"),
    "kept": ("Earlier texts", "Tidigare texter"),
    "kept_where": (
        "Kept in this browser only, not on the server.",
        "Sparade bara i den här webbläsaren, inte på servern.",
    ),
    "forget": ("Forget this text", "Glöm texten"),
    "forget_all": ("Forget all", "Glöm alla"),
    "gone": (
        "The recording has been deleted from the server; the text is kept here.",
        "Inspelningen är raderad från servern. Texten finns kvar här.",
    ),
    "sure": ("“{word}”: the model is {percent}\u00a0% sure.", "”{word}”: modellen är {percent}\u00a0% säker."),
    "next_unsure": ("Next unsure word", "Nästa osäkra ord"),
    "search": ("Search", "Sök"),
    "no_times": ("Hide times", "Dölj tider"),
    "legend": (
        "A wavy line marks words that the model is unsure of; the thicker, the less sure.",
        "En våglinje visar ord som modellen är osäker på. Ju tjockare linje, desto osäkrare.",
    ),
    "keys": (
        "Click a word to play from there. Alt+K plays and pauses, Alt+J goes back 3 s, Alt+, is slower, Alt+. faster.",
        "Klicka på ett ord för att spela därifrån. Alt+K spelar och pausar, Alt+J går tillbaka 3 s, Alt+, saktar ner, "
        "Alt+. ökar farten.",
    ),
    "recording": ("Recording", "Inspelning"),
    "recording_now": ("Recording …", "Spelar in …"),
    "live_lead": (
        "Words appear as you speak. Grey words may still change. Nothing is stored.",
        "Orden visas medan du talar. Grå ord kan fortfarande ändras. Inget sparas.",
    ),
    "live_start": ("Record", "Spela in"),
    "live_stop": ("Stop", "Stoppa"),
    "live_resume": ("Continue", "Fortsätt"),
    "live_anew": ("Start over", "Börja om"),
    "live_asking": ("Allow the microphone in the browser.", "Tillåt mikrofonen i webbläsaren."),
    "live_listening": ("Listening …", "Lyssnar …"),
    "live_reconnecting": (
        "No connection. What you say is kept and sent as soon as it is back.",
        "Ingen anslutning. Det du säger behålls och skickas så snart den är tillbaka.",
    ),
    "live_finishing": ("The last words are on their way …", "De sista orden är på väg …"),
    "live_stopped": ("Stopped. You can go on where you were.", "Stoppad. Du kan fortsätta där du var."),
    "live_late": (
        "The server is busy: the words come later, and none is lost.",
        "Servern är upptagen: orden kommer senare, och inget går förlorat.",
    ),
    "live_denied": (
        "The browser does not let this page use the microphone. Allow it, and press Record again.",
        "Webbläsaren låter inte sidan använda mikrofonen. Tillåt den och tryck på Spela in igen.",
    ),
    "live_missing": ("No microphone was found.", "Ingen mikrofon hittades."),
    "live_insecure": (
        "Browsers give a page the microphone only over https, or on the computer itself.",
        "Webbläsare ger en sida mikrofonen bara över https, eller på den egna datorn.",
    ),
    "live_unplugged": ("The microphone cannot be used.", "Mikrofonen går inte att använda."),
    "live_busy": (
        "Too many speak at once. Try again in a minute.",
        "För många talar samtidigt. Försök igen om en minut.",
    ),
    "live_wrong": ("Something went wrong here. Start over.", "Något gick fel här. Börja om."),
    "live_idle": ("Press Record and speak.", "Tryck på Spela in och börja tala."),
    "live_full": (
        "Live stops after {minutes} minutes. Start again, or upload a recording.",
        "Live slutar efter {minutes} minuter. Börja om eller ladda upp en inspelning.",
    ),
    "teach_lead": (
        "Speak or upload up to 30 seconds, correct the text, and give both to the next training.",
        "Tala in eller ladda upp högst 30 sekunder, rätta texten och bidra med båda till nästa träning.",
    ),
    "teach_off": (
        "Nothing can be given here: this Space stores no files. Its owner can name a private data set with TEACH_REPO.",
        "Här går det inte att bidra: sidan sparar inga filer. Ägaren kan ange en privat datamängd med TEACH_REPO.",
    ),
    "clip": ("Clip, up to 30 seconds", "Klipp, högst 30 sekunder"),
    "correction": ("What was said", "Vad som sades"),
    "correction_hint": ("Speak first, then correct the text here.", "Tala in först, rätta sedan texten här."),
    "consent": (
        "I have the right to share this voice and this text, and I agree that they are stored and used to train "
        "speech models.",
        "Jag har rätt att dela rösten och texten, och jag samtycker till att de sparas och används för att träna "
        "talmodeller.",
    ),
    "where_folder": (
        "Stored on the computer that runs this page, in the folder {where}, and only if you tick the box. You get "
        "a code to take the clip back with.",
        "Sparas på datorn som kör sidan, i mappen {where}, och bara om du kryssar i rutan. Du får en kod som du "
        "kan ta tillbaka klippet med.",
    ),
    "where_hub": (
        "Stored in {where}, a private data set on the Hugging Face Hub, and only if you tick the box. You get a "
        "code to take the clip back with.",
        "Sparas i {where}, en privat datamängd på Hugging Face Hub, och bara om du kryssar i rutan. Du får en kod "
        "som du kan ta tillbaka klippet med.",
    ),
    "give": ("Give clip and text", "Bidra med klipp och text"),
    "thanks": (
        "Thank you. The code of your clip is {name}: keep it to take the clip back.",
        "Tack! Koden för ditt klipp är {name}. Spara den för att kunna ta tillbaka klippet.",
    ),
    "no_consent": (
        "Nothing was stored: tick the box first if you agree.",
        "Inget sparades. Kryssa i rutan först om du samtycker.",
    ),
    "no_clip": ("Speak or upload a clip first.", "Tala in eller ladda upp ett klipp först."),
    "no_text": ("Write what was said first.", "Skriv först vad som sades."),
    "long_clip": (
        "The clip has {seconds:.0f} seconds; at most 30 can be given.",
        "Klippet är {seconds:.0f} sekunder långt; högst 30 kan tas emot.",
    ),
    "long_text": ("The text is too long for 30 seconds.", "Texten är för lång för 30 sekunder."),
    "full": (
        "No more clips can be stored here; nothing was stored.",
        "Här finns ingen plats för fler klipp. Inget sparades.",
    ),
    "take_back": ("Take a clip back", "Ta tillbaka ett klipp"),
    "code": ("The code of the clip", "Klippets kod"),
    "take_back_now": ("Delete the clip", "Radera klippet"),
    "taken_back": ("The clip and its text are deleted.", "Klippet och texten är raderade."),
    "no_code": ("There is no clip with this code.", "Det finns inget klipp med den koden."),
    # About the model
    "percent": ("{rate}\u00a0%", "{rate}\u00a0%"),
    "wer": ("word error rate (WER)", "ordfel (WER)"),
    "cer": ("character error rate (CER)", "teckenfel (CER)"),
    "unmeasured": ("Nobody has measured how many words it gets wrong.", "Ingen har mätt hur många ord som blir fel."),
    "of_hundred": ("Of 100 words it gets {wrong} wrong{where}.", "Av 100 ord blir {wrong} fel{where}."),
    "of_hundred_characters": (
        "Of 100 characters it gets {wrong} wrong{where}.",
        "Av 100 tecken blir {wrong} fel{where}.",
    ),
    "roughly": ("about {count}", "ungefär {count}"),
    "under_one": ("fewer than 1", "färre än 1"),
    "measured_on": (
        ", measured on {clips} clips that were not used in training",
        ", mätt på {clips} klipp som inte ingick i träningen",
    ),
    "other_speakers": (
        "With other speakers it would most likely be {low} to {high}\u00a0% (95\u00a0% interval).",
        "Med andra talare skulle det troligen bli {low} till {high}\u00a0% (95\u00a0% konfidensintervall).",
    ),
    "other_clips": (
        "With other clips of the same voices it would most likely be {low} to {high}\u00a0% (95\u00a0% interval).",
        "Med andra klipp av samma röster skulle det troligen bli {low} till {high}\u00a0% (95\u00a0% "
        "konfidensintervall).",
    ),
    "before": ("Before training it was {rate}\u00a0%.", "Före träningen var det {rate}\u00a0%."),
    "this_model": ("This model", "Den här modellen"),
    "baseline": ("Before training", "Före träningen"),
    "model": ("Model", "Modell"),
    "speech": ("Speech in training", "Tal i träningen"),
    "hours": ("{hours} hours", "{hours} timmar"),
    "sources": ("Sources", "Källor"),
    "licences": ("Licences", "Licenser"),
    "made": ("Made", "Skapad"),
    "run": ("Run", "Körning"),
    "revision": ("Revision", "Revision"),
    "float_wer": ("Before it was made 8-bit", "Före 8-bitarskomprimering"),
    "card": ("Model card and weights", "Modellkort och vikter"),
    "examples": ("Or try one of these:", "Eller prova:"),
    "program": ("From a program", "Från ett program"),
    "program_lead": (
        "The same engine answers programs that speak OpenAI's API, as text, JSON or subtitles. ",
        "Samma motor svarar program som talar OpenAI:s API, med text, JSON eller undertexter. ",
    ),
    "docs": ("lists every field;", "visar alla fält;"),
    "health": ("answers with model, revision and uptime.", "svarar med modell, revision och drifttid."),
    # What is wrong with a file
    "missing": (
        "There is no recording yet: speak or upload one.",
        "Det finns ingen inspelning ännu. Tala in eller ladda upp en.",
    ),
    "unreadable": ("No readable audio in this file.", "Filen innehåller inget läsbart ljud."),
    "nothing": ("The recording is empty.", "Inspelningen är tom."),
    "incomplete": (
        "A part of this recording is damaged or missing.",
        "En del av inspelningen är skadad eller saknas.",
    ),
    "joined": (
        "This file holds several recordings, of which only the first can be decoded.",
        "Filen innehåller flera inspelningar, och bara den första går att höra.",
    ),
    "silent": ("The recording is silent.", "Inspelningen är tyst."),
    "wordless": ("No words were heard in this recording.", "Inga ord hördes i inspelningen."),
    "too_long": (
        "The recording is longer than the {minutes} minutes that are taken here: cut it into parts.",
        "Inspelningen är längre än de {minutes} minuter som sidan tar emot. Dela upp den.",
    ),
    "too_big": (
        "The file has more than the {megabytes} MB that are taken here: send its sound alone, or a part.",
        "Filen är större än de {megabytes} MB som sidan tar emot. Skicka bara ljudet, eller en del.",
    ),
    "too_many": ("At most {files} files at once.", "Högst {files} filer åt gången."),
    "broken": (
        "Something went wrong here, not in your file. Try again.",
        "Något gick fel här, inte i din fil. Försök igen.",
    ),
}


# Labels that Gradio has in English only, by the start of its own label.
GRADIO_LABELS = {
    "Adjust playback speed to": "Ändra hastigheten till",
    "Adjust volume": "Ändra volymen",
    "Remove this file": "Ta bort filen",
    "Skip backwards by": "Hoppa bakåt",
    "Skip forward by": "Hoppa framåt",
    "Play": "Spela upp",
    "Pause": "Pausa",
    "More tabs": "Fler flikar",
    "pause": "Pausa",
    "Select input device": "Välj mikrofon",
    "Click to upload or drop files": "Klicka för att ladda upp, eller släpp filer här",
    "File upload": "Ladda upp filer",
    "Upload file": "Ladda upp en fil",
    "Record audio": "Spela in ljud",
}


def translate(key: str, language: str = "en", /, **values: object) -> str:
    """The text of a key in one language, with its fields filled in."""
    return TEXTS[key][LANGUAGES.index(language)].format(**values)


def bilingual(key: str, /, **values: object) -> Markup:
    """HTML with the text in every language, of which CSS shows the visitor's.

    A value that is a tuple holds one value for each language.
    """
    texts = Markup()
    for index, language in enumerate(LANGUAGES):
        fields = {name: value[index] if isinstance(value, tuple) else value for name, value in values.items()}
        texts += Markup('<span lang="{}">{}</span>').format(language, escape(TEXTS[key][index]).format(**fields))
    return texts


def format_number(value: float) -> tuple[str, str]:
    """A number with one decimal, as each language writes it.

    >>> format_number(5.654)
    ('5.7', '5,7')
    """
    return f"{value:.1f}", f"{value:.1f}".replace(".", ",")


def gradio_translations() -> gr.I18n:
    """All texts, for Gradio to choose from by the browser's language."""
    texts = {code: {key: pair[index] for key, pair in TEXTS.items()} for index, code in enumerate(LANGUAGES)}
    texts["sv"] |= {"common.upload": "Ladda upp", "upload_text.drop_file": "Släpp filer här"}  # missing in Gradio
    return gr.I18n(**texts)


def request_language(request: gr.Request | None) -> str:
    """The language that the visitor chose on the page, else Swedish if the browser prefers it, else English."""
    headers = request.headers if request else {}
    if chosen := re.search(r"(?:^|;\s*)language=(en|sv)(?:;|$)", headers.get("cookie", "")):
        return chosen[1]
    return "sv" if headers.get("accept-language", "").strip().lower().startswith("sv") else "en"
