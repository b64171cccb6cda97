"""English words and phrases."""

from __future__ import annotations

from timer_service.summarizers.lexicons.lexicon import Lexicon, Phrases, compile_cues, split_words

LEXICON = Lexicon(
    language="en",
    stop_words=split_words(
        "a an the and or but if so then than that this these those it its it's is are was were be "
        "been am i i'm you your we us our my me he she they them their his her to of in on at for "
        "from with by as do does did have has had can could will would shall should may might not "
        "no yes any some all just there here what when where which who how why about up out also "
        "too very much more please ok okay hi hello thanks thank get got one let know"
    ),
    greetings=compile_cues(
        "hi, hello, hey, hiya, hi there, hello there, hey there, greetings, good morning, "
        "good afternoon, good evening, good day, dear, sir, madam, how are you, "
        "how are you doing, hope you are well, hope you're well, quick question, "
        "i have a question, one question, just wondering, sorry to bother you"
    ),
    courtesies=compile_cues(
        "thanks, thank you, thanks a lot, thanks so much, thanks again, thank you so much, "
        "thank you very much, many thanks, thx, ty, tysm, cheers, ok, okay, okey, k, kk, sure, "
        "alright, all right, yes, yeah, yep, yup, no, nope, great, cool, nice, perfect, awesome, "
        "good, fine, noted, got it, i see, understood, bye, goodbye, bye bye, good night, "
        "take care, see you, see you soon, you're welcome, you are welcome, welcome, no problem, "
        "no worries, my pleasure, anytime, how can i help you, how can i help you today, "
        "how may i help you, how may i help you today, how can we help you, how can we help, "
        "how can we help you today, how can i help, how may i help, how can i be of help, "
        "what can i do for you, anything else, is there anything else, "
        "is there anything else i can help you with, "
        "would there be anything else i can help you with, anything else i can help you with, "
        "can i help you with anything else, have a nice day, have a great day, have a good day, "
        "have a great night, have a good one, that's it, that is it, that's all, that is all, "
        "please, lol, haha, so much, very much, and, you too"
    ),
    questions=compile_cues(
        "how, what, what's, when, where, where's, which, who, why, is, are, do, does, did, can, "
        "could, would, may i, have you, has, any",
        at_start=True,
    ),
    requests=compile_cues(
        "can i, can you, can we, could i, could you, may i, i want, i wanted, we want, i'd like, "
        "i would like, i need, we need, i'm looking for, i am looking for, looking for, "
        "do you have, do you, is there, are there, how much, how long, how many, price, send me, "
        "please send, refund, return, exchange, replace, cancel, in stock, available, "
        "interested in, help me, help with, want to, would like to, problem, issue, doesn't work, "
        "does not work, not working, broken, damaged, wrong, missing, did not receive, "
        "didn't receive, have not received, haven't received, didn't arrive, did not arrive, "
        "hasn't arrived, has not arrived, still waiting, where is"
    ),
    commitments=compile_cues(
        "i'll, i will, we'll, we will, i'm going to, i am going to, we're going to, "
        "we are going to, let me, i promise"
    ),
    promises=compile_cues(
        "will be sent, will be shipped, will ship, will be delivered, will be refunded, "
        "will be ready, will call, will contact, will get back, will reach out, will give you, "
        "will send, will deliver, someone will, they will, they'll, he'll, she'll, going to send, "
        "going to call"
    ),
    arrangements=compile_cues(
        "will, won't, going to, it'll, you'll, arrives, tomorrow, next week, next month, "
        "on monday, on tuesday, on wednesday, on thursday, on friday, on saturday, on sunday, "
        "by monday, by tuesday, by wednesday, by thursday, by friday, by saturday, by sunday, "
        "you can collect, you can pick, ready for pickup, ready for collection, see you on, "
        "within the hour, business days"
    ),
    checks=compile_cues(
        "let me check, let me see, let me look, let me ask, let me find out, i'll check, "
        "i will check, we'll check, we will check, checking, one moment, just a moment, a moment, "
        "one minute, one sec, get back to you, come back to you, let you know, reply soon, "
        "reply shortly, reply as soon as, answer shortly, be with you shortly, right with you, "
        "will answer, will reply, keep you posted, update you"
    ),
    positive=compile_cues(
        "great, perfect, awesome, amazing, excellent, wonderful, lovely, love it, love, "
        "fantastic, happy, very helpful, so helpful, thank you so much, thanks so much, "
        "you're the best, beautiful, brilliant, glad"
    ),
    negative=compile_cues(
        "not happy, unhappy, not satisfied, disappointed, disappointing, terrible, awful, "
        "horrible, angry, upset, annoyed, annoying, frustrated, frustrating, unacceptable, "
        "ridiculous, worst, rude, scam, broken, damaged, defective, crack, cracked, leaking, "
        "torn, stained, scratched, faulty, wrong, late, still waiting, never arrived, "
        "hasn't arrived, has not arrived, didn't arrive, doesn't work, does not work, "
        "not working, not good, no one answers, nobody answers, complaint, complain"
    ),
    phrases=Phrases(
        asked="The customer asked: {}",
        wrote="The customer wrote: {}",
        sent="The customer sent {}.",
        answered="The shop answered: {}",
        unanswered="The customer is still waiting for an answer.",
        shop_next="Next, the shop: {}",
        customer_next="Next, the customer: {}",
        shop="Shop",
        customer="Customer",
        greeting_only="The customer said hello and asked for nothing yet.",
        greeting_title="A greeting",
        media_title="The customer sent {}",
        answer_them="Answer the customer: {}",
        keep_promise="Keep what was promised: {}",
        media={
            "image": "a photo",
            "video": "a video",
            "document": "a document",
            "audio": "an audio file",
            "voice": "a voice message",
            "location": "a location",
            "contacts": "a contact",
            "order": "an order",
            "other": "a message without text",
        },
    ),
    suffixes=("ing", "ies", "es", "ed", "s"),
)
