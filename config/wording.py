"""What the command-line library says in English, in the language of the operators."""

from __future__ import annotations

import re

SPANISH = (
    (r"^Usage:", "Uso:"),
    (r"^Options:", "Opciones:"),
    (r"^Commands:", "Órdenes:"),
    (r"\[OPTIONS\]", "[OPCIONES]"),
    (r"\[?COMMAND\]? \[ARGS\]\.\.\.", "[ORDEN [ARGUMENTOS]...]"),
    (r"Show this message and exit\.", "Muestra esta ayuda y termina."),
    (r"Show the version and exit\.", "Muestra la versión y termina."),
    (r"^No such option:? (.+?)\.?(?= Did you mean | \(|$)", r"No existe la opción \1."),
    (r"^No such command (.+?)\.(?= Did you mean | \(|$)", r"No existe la orden \1."),
    (r"Did you mean one of: (.*)\?", r"¿Quería decir una de estas: \1?"),
    (r"Did you mean (.*)\?", r"¿Quería decir \1?"),
    (r"\(Possible options: (.*)\)", r"(opciones parecidas: \1)"),
    (r"^Missing argument (.+)\.", r"Falta el argumento \1."),
    (r"^Option (.+) requires an argument\.", r"La opción \1 necesita un valor."),
    (r"^Option (.+) does not take a value\.", r"La opción \1 no lleva valor."),
    (r"Got unexpected extra arguments? \((.*)\)", r"Sobran argumentos: \1"),
    (r"Invalid value for (.+?): ", r"Valor no válido para \1: "),
)


def in_spanish(text: str) -> str:
    """`text` with every sentence of the library that is known here translated."""
    for english, spanish in SPANISH:
        text = re.sub(english, spanish, text, flags=re.MULTILINE)
    return text
