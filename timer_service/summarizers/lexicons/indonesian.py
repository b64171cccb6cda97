"""Indonesian words and phrases, chat spelling included (``brp``, ``gak``, ``dikabarin``)."""

from __future__ import annotations

from functools import partial

from timer_service.summarizers.lexicons.lexicon import Lexicon, Phrases, compile_cues, split_words

_cues = partial(compile_cues, after="(?:nya|kah|lah)?")

_TIMES = ("pagi", "siang", "sore", "malam", "malem")
_WHOM = ("kak", "kakak", "ka", "min", "admin", "gan", "sis", "bang", "mas", "mbak", "pak", "bu")
_SPEAKERS = ("saya", "aku", "gue", "kami", "kita")
_DEEDS = (
    *("akan", "transfer", "tf", "bayar", "ambil", "ke sana"),
    *("cek", "kirim", "kabari", "kabarin", "infokan", "siapkan"),
)

LEXICON = Lexicon(
    language="id",
    stop_words=split_words(
        "yang yg dan di ke dari ini itu nya saya aku gue kami kita kamu anda dia mereka ada "
        "adalah tidak tdk gak ga nggak ngga enggak gk bukan belum blm sudah udah sdh dah akan "
        "untuk utk buat dengan dgn atau juga jg lagi lg kak kakak min admin gan sis bang bro mas "
        "mbak pak bu bapak ibu ya iya yaa dong donk deh sih kok nih tuh kan halo hai terima kasih "
        "makasih oke ok baik siap apa mau bisa boleh kalau kalo klo saja aja banget bgt dulu "
        "masih sama pada se si para oleh karena jadi jd lalu terus trus"
    ),
    greetings=_cues(
        "halo, hallo, hello, helo, hai, hi, hey, hei, permisi, assalamualaikum, assalamu'alaikum, "
        "asalamualaikum, waalaikumsalam, wa'alaikumsalam, selamat pagi, selamat siang, "
        "selamat sore, selamat malam, misi, punten, kak, kakak, ka, min, admin, gan, agan, sis, "
        "bang, bro, mas, mbak, mba, pak, bu, bapak, ibu, kk, om, tante, mau tanya, mau nanya, "
        "mo tanya, mau tanya dong, mau nanya dong, numpang tanya, numpang nanya, saya mau tanya, "
        "aku mau tanya, apa kabar, "
        # Alone these are times of day ("malam ini bisa kirim?"), so they need somebody greeted.
        + ", ".join(f"{time} {whom}" for time in _TIMES for whom in _WHOM)
    ),
    courtesies=_cues(
        "terima kasih, terimakasih, makasih, makasi, maacih, trims, tengkyu, thanks, thank you, "
        "thx, tq, ok, oke, okay, okey, okee, okeh, pagi, siang, sore, malam, sip, sipp, siap, "
        "baik, baiklah, ya, iya, yaa, iyaa, yup, y, tidak, gak, ga, nggak, sudah, udah, noted, "
        "bisa, boleh, sama-sama, sama sama, sama2, banyak, selamat datang, ada yang bisa dibantu, "
        "ada yang bisa kami bantu, ada yang bisa saya bantu, ada yang bisa aku bantu, "
        "ada yg bisa dibantu, ada yg bisa kami bantu, ada lagi, ada lagi yang bisa dibantu, "
        "ada lagi yg bisa dibantu, itu aja, itu saja, ditunggu, ditunggu orderannya, dong, deh, "
        "nih, sih, kok, dulu, aja, wkwk, wkwkwk, hehe, haha"
    ),
    questions=_cues(
        "berapa, berapaan, brp, brapa, kapan, gimana, gmn, bagaimana, apakah, apa, dimana, "
        "di mana, yang mana, kenapa, knp, ga ya, gak ya, nggak ya, ngga ya, tidak ya, ga kak, "
        "gak kak, nggak kak, ga min, gak min, bisa ga, bisa gak, bisa nggak, ada ga, ada gak, "
        "ada nggak, boleh ga, boleh gak"
    ),
    requests=_cues(
        "mau, pengen, pengin, ingin, bisa, minta, tolong, pesan, pesen, order, beli, cari, nyari, "
        "berapa, berapaan, brp, harga, ada, ready, stok, stock, ongkir, refund, retur, tukar, "
        "dibatalkan, batalin, cancel, komplain, belum sampai, belum nyampe, blm sampai, "
        "blm nyampe, belum datang, rusak, cacat, salah, kurang, ga sesuai, gak sesuai, "
        "tidak sesuai, boleh, apakah, kapan, resi"
    ),
    commitments=_cues(
        "nanti saya, nanti aku, nanti kami, nanti kita, besok saya, besok aku, "
        "langsung transfer, langsung tf, langsung bayar, "
        + ", ".join(f"{speaker} {deed}" for speaker in _SPEAKERS for deed in _DEEDS)
    ),
    promises=_cues(
        "dikirim, dikirimkan, diantar, diproses, disiapkan, dikabari, dikabarin, kabari, kabarin, "
        "diinfokan, direfund, diganti, ditukar, kirim besok, kirim hari ini, kirim nanti"
    ),
    arrangements=_cues(
        "akan, besok, bsk, lusa, minggu depan, bulan depan, nanti, hari senin, hari selasa, "
        "hari rabu, hari kamis, hari jumat, hari sabtu, hari minggu, estimasi, bisa diambil, "
        "hari kerja"
    ),
    checks=_cues(
        "cek dulu, saya cek, aku cek, kami cek, kita cek, dicek, dicekin, cekin, kabari, kabarin, "
        "dikabari, dikabarin, infokan, diinfokan, ditanyakan, tanyakan dulu, tanya dulu, "
        "tunggu sebentar, mohon ditunggu, mohon tunggu, sebentar, bentar, segera membalas, "
        "segera kami balas, akan kami balas"
    ),
    positive=_cues(
        "mantap, mantep, mantul, bagus, keren, puas, senang, seneng, suka, terima kasih banyak, "
        "makasih banyak, recommended, ramah, asik, asyik, cantik, hore, alhamdulillah, "
    ),
    negative=_cues(
        "kecewa, ga puas, gak puas, nggak puas, tidak puas, ga bagus, gak bagus, tidak bagus, "
        "lama banget, lama bgt, kelamaan, lambat, lelet, rusak, cacat, pecah, salah kirim, "
        "salah warna, salah ukuran, marah, kesal, kesel, parah, jelek, belum sampai, "
        "belum nyampe, blm sampai, blm nyampe, belum datang, ga dibalas, gak dibalas, ga dibales, "
        "gak dibales, ga sesuai, gak sesuai, nggak sesuai, tidak sesuai, penipu, penipuan, "
        "bohong, ga jelas, gak jelas, komplain"
    ),
    phrases=Phrases(
        asked="Pelanggan menanyakan: {}",
        wrote="Pelanggan menulis: {}",
        sent="Pelanggan mengirim {}.",
        answered="Toko menjawab: {}",
        unanswered="Pelanggan masih menunggu jawaban.",
        shop_next="Selanjutnya, toko: {}",
        customer_next="Selanjutnya, pelanggan: {}",
        shop="Toko",
        customer="Pelanggan",
        greeting_only="Pelanggan menyapa dan belum meminta apa-apa.",
        greeting_title="Sapaan",
        media_title="Pelanggan mengirim {}",
        answer_them="Jawab pelanggan: {}",
        keep_promise="Tepati yang sudah dijanjikan: {}",
        media={
            "image": "foto",
            "video": "video",
            "document": "dokumen",
            "audio": "berkas audio",
            "voice": "pesan suara",
            "location": "lokasi",
            "contacts": "kontak",
            "order": "pesanan",
            "other": "pesan tanpa teks",
        },
    ),
    suffixes=("nya", "kah", "lah", "in"),
)
