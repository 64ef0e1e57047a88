"""What the page says, in English and in Swedish."""

from __future__ import annotations

import gradio as gr

LANGUAGES = ("en", "sv")
SPOKEN = {"en": ("English", "engelska"), "sv": ("Swedish", "svenska")}

# {names} are filled in by the server, which knows the reader's language by the browser's Accept-Language.
WORDS = {
    "title": ("{language} speech to text", "Tal till text på {language}"),
    "lead": ("Speak, or drop a recording. Read what was said.", "Tala, eller släpp en inspelning. Läs vad som sades."),
    "transcribe": ("Transcribe", "Skriv ut"),
    "live": ("Live", "Direkt"),
    "teach": ("Teach it", "Lär den"),
    "about": ("About", "Om"),
    "microphone": ("Microphone", "Mikrofon"),
    "files": ("Audio or video files", "Ljud- eller videofiler"),
    "limits": (
        "Up to {minutes} minutes and {megabytes} MB a file. Sounds are deleted within two hours.",
        "Högst {minutes} minuter och {megabytes} MB per fil. Ljudet raderas inom två timmar.",
    ),
    "hints": ("Names and terms that may be said", "Namn och termer som kan förekomma"),
    "hints_example": ("Kiruna, Norra Kvarken, …", "Kiruna, Norra Kvarken, …"),
    "empty": (
        "The text appears here while it is being heard.",
        "Texten kommer här medan den hörs.",
    ),
    "empty_more": (
        "Afterwards you can play any sentence by its time, and take the text along as TXT, SRT, VTT or JSON.",
        "Sedan kan du spela upp varje mening från dess tid och ta med texten som TXT, SRT, VTT eller JSON.",
    ),
    "opening": ("Opening {name} …", "Öppnar {name} …"),
    "hearing": ("{name}: {heard} of {total}", "{name}: {heard} av {total}"),
    "left": ("about {left} left", "ungefär {left} kvar"),
    "done": ("Done: {total} of sound in {took} s.", "Klart: {total} ljud på {took} s."),
    "done_some": (
        "Done, but {failed} of {files} could not be read.",
        "Klart, men {failed} av {files} gick inte att läsa.",
    ),
    "failed": ("Nothing was written.", "Inget skrevs ut."),
    "segments": ("What was said", "Vad som sades"),
    "play": ("Play from {time}", "Spela från {time}"),
    "copy": ("Copy", "Kopiera"),
    "take": ("Take the text along", "Ta med texten"),
    "sure": ("The model is {percent} % sure", "Modellen är {percent} % säker"),
    "legend": (
        "The stronger the line under a word, the less sure the model is.",
        "Ju kraftigare streck under ett ord, desto osäkrare är modellen.",
    ),
    "recording": ("Recording", "Inspelning"),
    "live_lead": (
        "Words appear while you speak. Pale ones may still change; silence costs nothing, and nothing is kept.",
        "Orden kommer medan du talar. De bleka kan ännu ändras; tystnad kostar inget, och inget sparas.",
    ),
    "live_empty": ("Press Record and speak.", "Tryck på Spela in och tala."),
    "live_full": (
        "Live stops after {minutes} minutes. Start again, or upload a recording.",
        "Direkt slutar efter {minutes} minuter. Börja om, eller ladda upp en inspelning.",
    ),
    "teach_lead": (
        "Speak or upload up to 30 seconds, mend the text until it is what was said, and give both to the next "
        "training.",
        "Tala eller ladda upp högst 30 sekunder, rätta texten tills den är vad som sades, och ge båda till nästa "
        "träning.",
    ),
    "teach_off": (
        "Nothing can be given here: this Space keeps no files. Its owner can name a private data set by TEACH_REPO.",
        "Här kan inget lämnas: den här sidan sparar inga filer. Ägaren kan ange en privat datamängd med TEACH_REPO.",
    ),
    "clip": ("Clip, up to 30 seconds", "Klipp, högst 30 sekunder"),
    "correction": ("What was really said", "Vad som verkligen sades"),
    "correction_hint": ("Speak first; then mend the text here.", "Tala först; rätta sedan texten här."),
    "consent": (
        "I may give this voice and this text away, and I let them be stored and used to train speech models.",
        "Jag får lämna ut den här rösten och texten, och jag låter dem sparas och användas för att träna talmodeller.",
    ),
    "where_folder": (
        "Kept on the machine that runs this page, in the folder {where}. Without the tick nothing is stored. "
        "Note the name you get: with it the clip can be removed again.",
        "Sparas på datorn som kör sidan, i mappen {where}. Utan bocken sparas inget. "
        "Anteckna namnet du får: med det kan klippet tas bort igen.",
    ),
    "where_hub": (
        "Kept in {where}, a private data set on the Hugging Face Hub. Without the tick nothing is stored. "
        "Note the name you get: with it the clip can be removed again.",
        "Sparas i {where}, en privat datamängd på Hugging Face Hub. Utan bocken sparas inget. "
        "Anteckna namnet du får: med det kan klippet tas bort igen.",
    ),
    "give": ("Give clip and text", "Lämna klipp och text"),
    "thanks": ("Thank you. It is kept as {name}.", "Tack. Det är sparat som {name}."),
    "no_consent": (
        "Nothing was stored: tick the box first, if you agree.",
        "Inget sparades: kryssa först i rutan, om du samtycker.",
    ),
    "no_clip": ("Speak or upload a clip first.", "Tala in eller ladda upp ett klipp först."),
    "no_text": ("Write what was said first.", "Skriv först vad som sades."),
    "long_clip": (
        "The clip has {seconds:.0f} seconds; at most 30 can be given.",
        "Klippet har {seconds:.0f} sekunder; högst 30 kan lämnas.",
    ),
    "long_text": ("The text is too long for 30 seconds.", "Texten är för lång för 30 sekunder."),
    "full": ("No more can be taken here; nothing was stored.", "Här finns ingen mer plats; inget sparades."),
    # About the model
    "percent": ("{rate}\u00a0%", "{rate}\u00a0%"),
    "wer": ("word error rate", "ordfel"),
    "cer": ("character error rate", "teckenfel"),
    "unmeasured": ("Nobody has measured how many words it gets wrong.", "Ingen har mätt hur många ord den får fel."),
    "of_hundred": ("Of 100 words it gets {wrong} wrong{where}.", "Av 100 ord får den {wrong} fel{where}."),
    "of_hundred_characters": (
        "Of 100 characters it gets {wrong} wrong{where}.",
        "Av 100 tecken får den {wrong} fel{where}.",
    ),
    "roughly": ("about {count}", "ungefär {count}"),
    "under_one": ("fewer than 1", "färre än 1"),
    "measured_on": (
        ", measured on {clips} clips that it was not trained on",
        ", mätt på {clips} klipp som den inte tränats på",
    ),
    "other_speakers": (
        "With other speakers it would most likely be {low} to {high}\u00a0% (95\u00a0% interval).",
        "Med andra talare vore det sannolikt {low} till {high}\u00a0% (95\u00a0% intervall).",
    ),
    "other_clips": (
        "With other clips of the same voices it would most likely be {low} to {high}\u00a0% (95\u00a0% interval).",
        "Med andra klipp av samma röster vore det sannolikt {low} till {high}\u00a0% (95\u00a0% intervall).",
    ),
    "before": ("Before training it was {rate}\u00a0%.", "Före träningen var det {rate}\u00a0%."),
    "this_model": ("This model", "Den här modellen"),
    "baseline": ("Before training", "Före träningen"),
    "model": ("Model", "Modell"),
    "speech": ("Speech heard in training", "Tal i träningen"),
    "hours": ("{hours} hours", "{hours} timmar"),
    "sources": ("Sources", "Källor"),
    "licences": ("Licences", "Licenser"),
    "made": ("Made", "Gjord"),
    "run": ("Run", "Körning"),
    "revision": ("Revision", "Revision"),
    "served_wer": ("As served here", "Som den körs här"),
    "card": ("Model card and weights", "Modellkort och vikter"),
    "examples": ("Hear it at work", "Prova"),
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
        "Det finns ingen inspelning ännu: tala eller ladda upp en.",
    ),
    "unreadable": ("No readable audio in this file.", "Inget läsbart ljud i den här filen."),
    "nothing": ("The recording is empty.", "Inspelningen är tom."),
    "incomplete": (
        "A part of this recording is damaged or missing.",
        "En del av inspelningen är skadad eller saknas.",
    ),
    "joined": (
        "This file holds several recordings, of which only the first can be heard.",
        "Filen innehåller flera inspelningar, och bara den första går att höra.",
    ),
    "silent": ("The recording is silent.", "Inspelningen är tyst."),
    "wordless": ("No words were heard in this recording.", "Inga ord hördes i inspelningen."),
    "too_long": (
        "The recording is longer than the {minutes} minutes that are taken here: cut it into parts.",
        "Inspelningen är längre än de {minutes} minuter som tas emot här: dela den.",
    ),
    "too_big": (
        "The file has more than the {megabytes} MB that are taken here: send its sound alone, or a part.",
        "Filen har mer än de {megabytes} MB som tas emot här: skicka bara ljudet, eller en del.",
    ),
    "too_many": ("At most {files} files at once.", "Högst {files} filer åt gången."),
    "broken": (
        "Something went wrong here, not in your file. Try again.",
        "Något gick fel här, inte i din fil. Försök igen.",
    ),
}


def tell(key: str, language: str = "en", /, **values: object) -> str:
    """The words of a key, with its values."""
    return WORDS[key][LANGUAGES.index(language)].format(**values)


def translations() -> gr.I18n:
    """Every wording, for Gradio to choose from by the browser's language."""
    return gr.I18n(**{code: {key: pair[place] for key, pair in WORDS.items()} for place, code in enumerate(LANGUAGES)})


def language_of(request: gr.Request | None) -> str:
    """Swedish where it is what the browser asks for first, as Gradio has it; a program asks for none."""
    asked = request.headers.get("accept-language", "") if request else ""
    return "sv" if asked.strip().lower().startswith("sv") else "en"
