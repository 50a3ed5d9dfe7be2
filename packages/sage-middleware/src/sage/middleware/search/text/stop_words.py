"""Function words per language: they say little about a topic and cost the longest postings.

Kept short on purpose: BM25 already weighs frequent words down, and question words, negations and
short content words must stay searchable.
"""

from __future__ import annotations

from types import MappingProxyType


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


STOP_WORDS: MappingProxyType[str, frozenset[str]] = MappingProxyType(
    {
        "en": _words(
            "a an and are as at be been but by did do does for from had has have he her his "
            "how i if in into is it its me my no not of on or our she so such than that the "
            "their them then there these they this to was we were what when where which who "
            "why will with would you your"
        ),
        "de": _words(
            "aber als am an auch auf aus bei bin bis bist da damit das dass dein dem den der "
            "des die dies diese dieser dieses doch du durch ein eine einem einen einer eines "
            "er es für hat haben hatte hatten ich ihr ihre im in ins ist ja kann mein mich "
            "mir mit nach nicht noch nur oder sein seine sich sie sind so über um und uns "
            "unter vom von vor war waren was wenn wer werden wie wir wird wo wurde wurden zu "
            "zum zur"
        ),
        "fr": _words(
            "à au aux avec c' ce ces cette comme d' dans de des du elle elles en est et été "
            "être eu il ils j' je l' la le les leur leurs lui m' ma mais me mes moi mon n' ne "
            "nos notre nous on ont ou où par pas plus pour qu' que qui s' sa se ses si son "
            "sont sur ta te tes tu un une vos votre vous y était étaient"
        ),
        "es": _words(
            "a al como con cuando de del desde donde el él ella ellas ellos en entre era es "
            "esta este esto está están fue fueron ha han hasta la las le les lo los más me mi "
            "muy no nos o para pero por porque que qué quien se ser si sin sobre son su sus "
            "también te tiene tu un una uno unos y ya yo"
        ),
        "it": _words(
            "a ad ai al alla alle anche che chi ci come con da dal dalla dei del della delle "
            "di e è ed era erano gli ha hanno i il in io la le lei lo loro lui ma mi ne nei "
            "nel nella noi non o per perché più quale quando quella quello questa questo se "
            "si sono su sua sue sul sulla suo suoi ti tra tu un una uno vi voi"
        ),
        "pt": _words(
            "a ao aos as até com como da das de dela dele do dos e é ela elas ele eles em "
            "entre era essa esse esta este eu foi foram há isso já lhe mais mas me mesmo meu "
            "minha muito na nas não nem no nos nós o os ou para pela pelo por quando que quem "
            "são se sem ser seu seus só sua suas também te tem um uma você"
        ),
        "nl": _words(
            "aan al als bij dat de deze die dit door een en er geen had haar heb heeft hem "
            "het hier hij hun ik in is je kan maar me met mijn naar niet nog nu of om onder "
            "ons ook op over te tot uit u van voor waar was wat we wel werd wie wij wordt ze "
            "zich zij zijn zo"
        ),
        "sv": _words(
            "alla att av blev bli blir de dem den denna deras dess det detta dig din du där "
            "då efter ej eller en er ett från för ha hade han hans har henne hon honom hur "
            "här i inte jag kan man med men mig min mot ni nu när och om oss på sedan sig sin "
            "som så till under upp ut vad var vara vi vid är över"
        ),
        "da": _words(
            "af alle at blev blive bliver da de dem den denne der deres det dette dig din dog "
            "du efter eller en er et for fra ham han hans har havde hende her hos hun hvad "
            "hvis hvor i ikke ind jeg jer kan kunne man med men mig min mod ned nogle nu når "
            "og også om op os over på sig sin skal som til ud under var vi vil være været"
        ),
        "no": _words(
            "alle at av ble bli blir både da de dem den denne der deres det dette din du "
            "eller en er et etter for fra før ha hadde han hans har henne her hun hva hvem "
            "hvor hvordan i ikke inn jeg kan kunne man med men meg min mot noe noen nå når og "
            "også om opp oss over på seg selv sin skal som så til under ut var ved vi vil "
            "være vært"
        ),
        "fi": _words(
            "ei eivät emme en että he heidän hän hänen ja joka jos jotka kanssa kuin kun me "
            "mikä minä mitä mukaan mutta myös ne niin nyt nämä ole olen oli olivat olla on "
            "ovat se sen sekä siitä sinä sitä tai te tämä tämän vaan vain voi"
        ),
        "pl": _words(
            "ale bo by był była było były być co czy dla do gdy gdzie go i ich ile im ja jak "
            "jako je jego jej jest jeszcze jeśli już kiedy która które którego który ma mnie "
            "może my na nie niż o od on ona one oni oraz po pod przed przez przy są się ta "
            "tak także tam te tego tej ten to tu ty tylko tym u w we więc z za ze że"
        ),
        "cs": _words(
            "a aby ale ani by byl byla byli bylo být co do i já jak jako je jeho jejich její "
            "jen ještě jsem jsme jsou k kde když která které který ke má mezi mi na nad ne "
            "nebo není než o od on po pod podle pro proto před při s se si tak také tam ten "
            "to tu u už v ve však z za ze že"
        ),
        "hu": _words(
            "a az azt azonban be csak de e egy el én és ez ezt ha hanem hogy hol is itt ki "
            "kell le lesz ma már meg mert mi mint minden mit most nagy ne nem néhány nincs "
            "olyan ő ők s sem szerint úgy után van vagy voltak volt"
        ),
        "ro": _words(
            "a acest această aceste al ale am ar are as au ca că când care ce cel cea cei cu "
            "cum da dar de deci din după ea ei el ele este eu fi fie fost i iar în într între "
            "îi îl la le lor lui mai mi nu o or pe pentru prin sa să sale sau se și sunt și-a "
            "te un una unde unei unor unui va vor"
        ),
        "tr": _words(
            "acaba ama ancak bana bazı ben beni bir biri biz bu bunu çok çünkü da daha de "
            "değil diye en gibi hem hep her hiç için ile ise kadar ki kim mi mu mü nasıl ne "
            "neden nerede o olan olarak oldu olduğu onlar onu sen siz şey şu tüm ve veya ya "
            "yani"
        ),
        "id": _words(
            "ada adalah agar akan aku anda antara apa atau bagi bahwa banyak beberapa bisa "
            "dalam dan dari dengan di dia hanya harus ia ini itu jika juga kami kamu karena "
            "ke kepada kita lagi lebih mereka oleh pada saat saya sebagai sebuah seperti "
            "serta suatu sudah tahun telah tersebut tetapi tidak untuk yaitu yang"
        ),
        "ru": _words(
            "а без бы был была были было быть в вам вас во вот все всё вы где да для до его "
            "ее её если есть еще ещё же за и из или им их к как ко когда кто ли мы на над не "
            "него нее ней нет ни них но о об он она они оно от по под при с со так там то "
            "тоже только ты у уже что чтобы эта эти это этот я"
        ),
        "uk": _words(
            "а але без був була були було бути в вас ви від він вона вони воно все для до є "
            "же з за зі і із й його її їх к коли ми на не ні о от по при про та так там те ти "
            "то тільки у уже це цей ця ці чи що щоб я як який"
        ),
        "el": _words(
            "αν από για δεν εγώ είναι εκ εν ένα ένας ή ήταν η θα και κατά με μετά μη μια μου "
            "να ο οι όπως ότι οτι που πως σε στη στην στο στον στους τα τη την της τι τις το "
            "τον του τους των ως"
        ),
        "ar": _words(
            "أن أو إلى إن إنه التي الذي الذين بعد بين تلك ثم حتى حيث دون ذلك على عن عند غير "
            "في قبل قد كان كانت كل كما لا لكن لم لن له لها ما مع من منذ منها هذا هذه هل هم هو "
            "هي و وقد ولا وهو وهي يكون"
        ),
        "hi": _words(
            "अपना अपनी अपने इन इस इसके उन उनके उस उसके एक और कर करने का कि किया की कुछ के को "
            "कोई गया जब जो तक तो था थी थे दिया नहीं ने पर भी में यह ये या लिए वह वे साथ से हम "
            "ही हुआ हुई हुए है हैं हो"
        ),
    }
)
"""Stop words by ISO 639-1 code; a language that is not here has none."""
