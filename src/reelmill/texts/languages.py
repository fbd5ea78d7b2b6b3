"""The languages that local rules know: how they are told apart, and phrases that say nothing of their own.

A phrase must be true of any video, and any two of a language must be clearly different; tests/unit/test_text_rules.py
sees to it.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Phrases:
    """openings stand before a text, with a colon; closings after it, as a sentence."""

    openings: tuple[str, ...]
    closings: tuple[str, ...]


def _listed(text: str) -> tuple[str, ...]:
    return tuple(phrase.strip() for phrase in text.split("|"))


BANK = {
    "en": Phrases(
        _listed(
            "Take a look|Right here|Watch this|See for yourself|A closer look|Just for you|Our moment|One to remember|"
            "In short|Picture this|Here it is|Worth watching"
        ),
        _listed(
            "Look again|Watch closely|Stay with us|Enjoy it|What do you think?|Keep watching|There is more|"
            "Tell a friend|Share the moment|See it now|Let us know|Nothing more to say"
        ),
    ),
    "de": Phrases(
        _listed(
            "Schau mal|Genau hier|Sieh selbst|Ganz nah dabei|Nur für dich|Unser Moment|Zum Erinnern|Kurz gesagt|"
            "Stell dir vor|Da ist es|Einen Blick wert|Jetzt im Bild"
        ),
        _listed(
            "Sieh es dir an|Schau genau hin|Bleib dabei|Viel Freude damit|Was meinst du?|Es geht noch weiter|"
            "Erzähl es weiter|Teile den Moment|Mehr davon gleich|Sag uns deine Meinung|Einfach ansehen|"
            "Lass dich mitnehmen"
        ),
    ),
    "es": Phrases(
        _listed(
            "Echa un vistazo|Justo aquí|Mira esto|Compruébalo|Más de cerca|Solo para ti|Nuestro momento|"
            "Para recordar|En pocas palabras|Imagínatelo|Aquí lo tienes|Vale la pena verlo"
        ),
        _listed(
            "Míralo bien|Quédate con nosotros|Disfrútalo|¿Qué te parece?|Sigue mirando|Aún hay más|"
            "Cuéntaselo a alguien|Comparte el momento|Velo ahora|Danos tu opinión|No hace falta decir más|Déjate llevar"
        ),
    ),
    "fr": Phrases(
        _listed(
            "Jetez un œil|Juste ici|Regardez ça|À vous de voir|De plus près|Rien que pour vous|Notre moment|"
            "À retenir|En un mot|Imaginez un peu|Le voici|À ne pas rater"
        ),
        _listed(
            "Regardez bien|Restez avec nous|Profitez-en|Qu'en pensez-vous ?|Ce n'est pas fini|Parlez-en autour de vous|"
            "Partagez ce moment|À voir maintenant|Dites-nous tout|Laissez-vous porter|Tout est là|Ouvrez les yeux"
        ),
    ),
    "it": Phrases(
        _listed(
            "Dai un'occhiata|Proprio qui|Guarda questo|Vedi tu stesso|Più da vicino|Solo per te|Il nostro momento|"
            "Da ricordare|In poche parole|Immagina un po'|Eccolo qui|Da non perdere"
        ),
        _listed(
            "Guarda bene|Resta con noi|Buona visione|Che ne pensi?|Non è finita|Raccontalo a qualcuno|"
            "Condividi il momento|Vedilo adesso|Facci sapere|Lasciati portare|C'è tutto|Apri gli occhi"
        ),
    ),
    "nl": Phrases(
        _listed(
            "Kijk eens|Precies hier|Zie het zelf|Van dichtbij|Alleen voor jou|Ons moment|Om te onthouden|"
            "Kort gezegd|Stel je voor|Daar is het|Een blik waard|Nu in beeld"
        ),
        _listed(
            "Kijk goed|Blijf erbij|Geniet ervan|Wat vind jij?|Er komt nog meer|Vertel het verder|"
            "Deel dit moment|Bekijk het nu|Laat het ons weten|Laat je meenemen|Alles zit erin|Open je ogen"
        ),
    ),
    "pt": Phrases(
        _listed(
            "Dá uma olhada|Bem aqui|Olha só isto|Vê por ti|Mais de perto|Só para ti|O nosso momento|"
            "Para recordar|Em poucas palavras|Imagina só|Aqui está|Vale a pena ver"
        ),
        _listed(
            "Olha com atenção|Fica connosco|Aproveita bem|O que achas?|Ainda há mais|Conta a alguém|"
            "Partilha o momento|Vê agora mesmo|Diz-nos o que sentes|Deixa-te levar|Está tudo aqui|Abre os olhos"
        ),
    ),
}

#: Words that are frequent in one of them and rare in the others.
FREQUENT = {
    "en": "the and of with for is are this that you your our from at by it was we be not have on",
    "de": "der die das und ist nicht mit dem den ein eine für von zu auf im am wir ihr sich auch beim zum zur unser",
    "es": "el los las una y que por para con es del muy nuestro nuestra este esta más pero como",
    "fr": "le les des une et est du au aux dans pour avec nous vous notre ce cette sur pas plus très",
    "it": "il gli sulla sul dalla dal dell degli della nel nella dei e è che per con una sono questo questa nostro più "
    "alla non",
    "nl": "het een en van voor met op is niet ook onze bij naar deze dit zijn aan wij jullie",
    "pt": "os as do da dos das no na um uma e que para com é não nosso nossa mais em ao",
}
_FREQUENT = {language: frozenset(words.split()) for language, words in FREQUENT.items()}
_WORD = re.compile(r"[^\W\d_]+")


def language_of(text: str) -> str | None:
    """Return the language that a text is clearly in, of those that are known; None when it can't be told."""
    words = _WORD.findall(text.casefold())
    hits = sorted(((sum(word in known for word in words), name) for name, known in _FREQUENT.items()), reverse=True)
    (most, name), (next_, _) = hits[:2]
    return name if most > next_ else None


def differs_in_language(text: str, language: str) -> str | None:
    """Return the known language that a text is in instead of `language`; None when it may well be in that one."""
    words = _WORD.findall(text.casefold())
    hits = {name: sum(word in known for word in words) for name, known in _FREQUENT.items()}
    own = hits.get(language, 0)
    most, name = max((count, name) for name, count in hits.items())
    return name if name != language and most >= 2 and most >= 2 * own + 2 else None  # a quoted word or two is fine


def scripts_of(text: str) -> frozenset[str]:
    """Return the scripts of a text's letters, those of a fifth of them at least."""
    counts: dict[str, int] = {}
    for char in text:
        if char.isalpha():
            name = unicodedata.name(char, "").split(" ")[0]
            counts[name] = counts.get(name, 0) + 1
    total = sum(counts.values())
    return frozenset(name for name, count in counts.items() if 5 * count >= total)
