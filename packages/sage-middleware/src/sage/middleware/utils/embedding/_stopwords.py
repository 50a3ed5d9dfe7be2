"""Function words of seven European languages, which say little about what a text is about."""

from __future__ import annotations

_BY_LANGUAGE = {
    "en": """a about above after again against all also am an and any are as at be because been
        before being below between both but by can could did do does doing down during each either
        few for from further had has have having he her here hers herself him himself his how i if
        in into is it its itself just may me might more most must my myself neither no nor not of
        off on once only or other our ours out over own same shall she should since so some such
        than that the their theirs them themselves then there these they this those through to too
        under until up upon us very was we were what when where whether which while who whom whose
        why will with within without would yet you your yours""",
    "de": """aber alle allem allen aller alles als also am an andere anderen auch auf aus bei beim
        bin bis bist da damit dann das dass dazu dem den denn der des dich die dies diese diesem
        diesen dieser dieses dir doch dort du durch ein eine einem einen einer eines er es etwas
        euch euer für gegen hab habe haben hat hatte hatten hier ich ihm ihn ihnen ihr ihre ihrem
        ihren ihrer im in ist ja jede jeder jedes jetzt kann kein keine können man mehr mein mich
        mir mit nach nicht nichts noch nun nur ob oder ohne sehr sein seine seinem seinen seiner
        selbst sich sie sind so soll sondern über um und uns unser unter viel vom von vor war waren
        warum was weil welche welchem welchen welcher welches wenn wer werden wie wieder wir wird
        wo wurde wurden zu zum zur zwischen""",
    "fr": """afin alors après au aucun aussi autre aux avant avec avoir bien car ce ceci cela celle
        celui ces cet cette ceux chaque chez comme comment dans de depuis des deux donc dont du elle
        elles en encore entre est et étaient était étant être eu fait furent fut il ils je jusque la
        le les leur leurs lors lui mais me même mes moi moins mon ne ni nos notre nous on ont ou où
        par parce pas pendant peu peut plus pour pourquoi qu quand que quel quelle quelles quels qui
        quoi sa sans se sera ses si sien son sont sous sur ta tant te tes ton tous tout toute toutes
        très trop tu un une vers vos votre vous""",
    "es": """al algo alguna alguno antes aquel aquella aquellos aunque cada como con contra cual
        cuales cuando cuándo cuya cuyo cómo de del desde donde dónde durante el él ella ellas ellos
        en entre era eran es esa esas ese eso esos esta está están estas este esto estos fue fueron
        ha han hasta hay la las le les lo los más me mi mientras muy nada ni no nos nosotros o otra
        otras otro otros para pero poco por porque pues que qué quien quién quienes se sea según ser
        será si sí sido sin sobre son su sus también tan tanto te tiene todo todos tu tus un una uno
        unos y ya yo""",
    "it": """agli ai al alla alle allo anche ancora avere aveva che chi ci come con contro cosa così
        cui da dagli dai dal dalla dalle dei del della delle dello dentro di dopo dove due e ed era
        erano essere fino fra gli ha hanno ho i il in io la le lei li lo loro lui ma mentre mi mia
        mio molto ne negli nei nel nella nelle nello noi non nostro o ogni oppure per perché però
        più poi prima può qual quale quali quando quanto quella quelle quelli quello questa queste
        questi questo se sei si sia sono sopra sotto sta stata stato su sua sue sugli sui sul sulla
        suo suoi tra tu tutti tutto un una uno vi voi""",
    "pt": """ao aos aquela aquele aqueles as até cada com como contra da das de dela dele deles
        depois do dos durante e ela elas ele eles em entre era eram essa esse esta está estão este
        eu foi foram há isso isto já lhe mais mas me mesmo meu minha muito na não nas nem no nos
        nós o onde os ou para pela pelas pelo pelos por porque qual quais quando que quem são se
        seja sem ser será seu seus só sobre sua suas também te tem ter teu tua um uma umas uns você
        vos""",
    "nl": """aan al alle als altijd andere ben bij daar dan dat de der deze die dit doch doen door
        dus een en er ge geen haar had heb hebben heeft hem het hier hij hoe hun iets ik in is ja
        je kan kon kunnen maar me meer men met mij mijn moet na naar niet niets nog nu of om omdat
        onder ons ook op over reeds te tegen toch toen tot u uit uw van veel voor waar waarom
        wanneer want waren was wat welke werd wezen wie wij wil worden wordt zal ze zelf zich zij
        zijn zo zonder zou""",
}

# Union over the languages: a text's language is not known, and the few words that mean something
# elsewhere ("die", "son", "war") still count a little, and through their neighbours.
STOP_WORDS = frozenset(word for words in _BY_LANGUAGE.values() for word in words.split())
