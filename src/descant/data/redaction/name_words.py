"""Words that decide whether something is a name: roles, what no name is, and homographs."""

from __future__ import annotations

_ROLES = """
a account adviser advisor agent agente agents ai an and announcement anonymous anrufer
asesor assistant associate attendant automated automatic banker berater beraterin billing
boss bot broker buyer call caller callers calls cashier center centre ch channel chatbot
clerk client cliente clients coach conseiller conseillère consultant consumer contact
courier customer customers desk dispatcher doctor dr driver employee engineer expert
external female first gpt guest hablante helpdesk holder host human inbound internal
interpreter ivr kunde kundin lead left llm locutor machine madam male man manager member
miss mitarbeiter model mr mrs ms music mx na new none null nurse of old operador operadora
operator operators other others outbound party passenger patient patron person pharmacist
receptionist recording rep representative reps right robot sales second seller service
services shopper side sir speaker specialist spk sprecher staff student subscriber
supervisor support system team teamlead technician teller tenant the third trainer
translator unknown user users virtual visitor voice voicemail wizard woman
"""
ROLES = frozenset(_ROLES.split())
"""What speaker columns hold where no name is."""

_NOT_A_NAME = """
a about account address afraid after afternoon again agent ah all already also always am an
and another any april are as asking at august back bad bank be because been before being
billing both but by bye call caller calling can card coming company correct could customer
december department did different do does done each eight email evening ever every february
fine five for four friday from getting glad going good goodbye great had happy has have
having he hello help her here hey hi him his hm hold hoping how i if ill im in insurance
into is it its ive january july june just kind least less let lets like listed looking mail
manager many march may me might mine missing monday more morning most much must my never
nine no nope not november now number october of off office oh ok okay on one only onto or
order other our out over phone phoning please pleasure pronounced quite really right ringing
sales same saturday september service seven shall she should six so some sorry speaking
spelled spelt still store such sunday supervisor support sure talking team ten than thank
thanks that the their them then there these they this those three thursday to today tomorrow
too trying tuesday two uh um under unknown up us very waiting was we wednesday well were
what when where which who whom whose why will with without wondering working would writing
written wrong yeah yep yes yesterday you your
"""
NOT_A_NAME = frozenset(_NOT_A_NAME.split())
"""Follows "my name is", "this is" or "mr" without being a name."""

_WORDS_THAT_ARE_NAMES = """
april art ash august autumn baker banks bell berry best bill bishop black blue bob booth
bridge bridges brook brooks brown buck bush butter carter case cash chance chase chip
christian church city clay cliff colt cook cooper cross crystal daisy dale dash dawn day
dean destiny diamond drew dusty early english faith field fields fish fisher flora ford
forest foster fox frank french gene ginger glory gold good grace grant gray green grey guy
hall hand hard hardy hart haven head heath heaven hill holiday holly honey honor hope house
hunt hunter ivy jack jade jay jean jet jewel joy judge june justice kay king knight lane law
liberty link little long love major marina marine mark mason max may mercy merry miles
miller moon moss nick noble north olive opal pace page paris park parker pat patience peace
pearl penny pepper piper pope porter potter power powers price pride prince rand raven ray
read reader reed regal rex rice rich river rivers rob robin rock rose royal sage salt sandy
savannah scout sharp shepherd short silver singer skip sky snow sparrow spring star stark
steel sterling stern stew stone storm story strong sue summer sunny swan sweet tab tiger
timber trace turner valentine violet walker ward waters way wells west white will winter
wise wolf wood woods wright young
"""
WORDS_THAT_ARE_NAMES = frozenset(_WORDS_THAT_ARE_NAMES.split())
"""Written small, or first in a sentence, these are more often words than names."""
