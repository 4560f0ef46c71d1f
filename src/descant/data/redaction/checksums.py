"""Check digits: which rows of digits can be the number of a card, a bank or an account.

Sources: Luhn in ISO/IEC 7812-1 annex B; IBAN in ISO 13616 with ISO 7064 MOD 97-10 and the lengths of
SWIFT's registry; routing numbers by the American Bankers Association; CLABE by the Asociación de
Bancos de México; the Spanish CCC of twenty digits. Issuers' prefixes as in ISO/IEC 7812 listings.
"""

from __future__ import annotations

import re

_CARD_DIGITS = range(13, 20)
# Prefix and lengths, by issuer: Visa, Mastercard, American Express, Diners Club, JCB, UnionPay and
# RuPay, Discover, Maestro, Mir, Troy, UATP.
_ISSUED = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})"
    r"|(?=\d{16}$)(?:5[1-5]|222[1-9]|22[3-9]\d|2[3-6]\d\d|27[01]\d|2720)\d+"
    r"|3[47]\d{13}"
    r"|3(?:0[0-5]|09|[689]\d)\d{11,16}"
    r"|35(?:2[89]|[3-8]\d)\d{12,15}"
    r"|(?:6[2045]|8[12])\d{14,17}"
    r"|(?:5[06-9]|6\d)\d{11,17}"
    r"|220[0-4]\d{12,15}"
    r"|9792\d{12}"
    r"|1\d{14}"
)
_REGISTRY = (
    "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 "
    "DO28 EE20 EG29 ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HR21 HU28 IE22 IL23 IQ23 "
    "IS26 IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 "
    "MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24 RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 "
    "SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30"
)
_IBAN_LENGTHS = {entry[:2]: int(entry[2:]) for entry in _REGISTRY.split()}
_FEDERAL_RESERVE = re.compile(r"(?:0[1-9]|1[0-2]|2[1-9]|3[0-2]|6[1-9]|7[0-2]|80)\d{7}")


def luhn(digits: str) -> bool:
    """Return whether the sum of every second digit doubled, from the right, ends in 0."""
    total = 0
    for at, digit in enumerate(reversed(digits)):
        doubled = int(digit) * (1 + at % 2)
        total += doubled - 9 if doubled > 9 else doubled
    return total % 10 == 0


def could_be_card(digits: str) -> bool:
    """Return whether the length is that of a card and the check digit is right."""
    return len(digits) in _CARD_DIGITS and luhn(digits) and len(set(digits)) > 1


def is_issued_card(digits: str) -> bool:
    """Return whether `digits` is a card by its length, its check digit and its issuer's prefix."""
    return could_be_card(digits) and _ISSUED.fullmatch(digits) is not None


def iban_length(country: str) -> int | None:
    """Return how many characters an IBAN of that country has; None if it has none."""
    return _IBAN_LENGTHS.get(country)


def is_iban(code: str) -> bool:
    """Return whether `code`, in capitals and without spaces, is an IBAN."""
    if len(code) != _IBAN_LENGTHS.get(code[:2]) or not code.isascii() or not code.isalnum():
        return False
    # Letters count as two digits: A is 10, Z is 35.
    return int("".join(str(int(sign, 36)) for sign in code[4:] + code[:4])) % 97 == 1


def is_routing_number(digits: str) -> bool:
    """Return whether `digits` is an ABA routing number: a Federal Reserve prefix, weights 3, 7, 1."""
    if not _FEDERAL_RESERVE.fullmatch(digits):
        return False
    return sum(int(digit) * (3, 7, 1)[at % 3] for at, digit in enumerate(digits)) % 10 == 0


def is_bank_account(digits: str) -> bool:
    """Return whether `digits` is a Mexican CLABE (18 digits) or a Spanish CCC (20 digits)."""
    return _is_clabe(digits) if len(digits) == 18 else len(digits) == 20 and _is_ccc(digits)


def is_social_security_number(digits: str) -> bool:
    """Return whether `digits` is in the ranges US social security numbers are given out from."""
    area, group, serial = digits[:3], digits[3:5], digits[5:]
    if len(digits) != 9 or area in ("000", "666") or area[0] == "9":
        return False
    return group != "00" and serial != "0000"


def _is_clabe(digits: str) -> bool:
    weighted = sum(int(d) * (3, 7, 1)[at % 3] % 10 for at, d in enumerate(digits[:17]))
    # Bank codes begin at 002; without this any row of zeros would do.
    return digits[:3] >= "002" and -weighted % 10 == int(digits[17])


def _is_ccc(digits: str) -> bool:
    bank, control, account = "00" + digits[:8], digits[8:10], digits[10:]
    return control == _ccc_digit(bank) + _ccc_digit(account) and digits[:4] != "0000"


def _ccc_digit(ten: str) -> str:
    rest = 11 - sum(int(digit) * 2**at for at, digit in enumerate(ten)) % 11
    # CCC weights are 1, 2, 4, 8, 5, 10, 9, 7, 3, 6: the powers of two modulo 11.
    return {10: "1", 11: "0"}.get(rest, str(rest))
