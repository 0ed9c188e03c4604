// The texts that are compared: seventeen kinds, more than four hundred of them, then random ones. All from a
// fixed seed, so that a failure can be looked at again.

export function generator(seed) {
    let state = seed >>> 0;
    const next = () => {
        state = (state + 0x6d2b79f5) >>> 0;
        let t = Math.imul(state ^ (state >>> 15), state | 1);
        t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
        return (t ^ (t >>> 14)) >>> 0;
    };
    return { below: (n) => next() % n, pick: (list) => list[next() % list.length] };
}

const scripts = [
    'The quick brown fox jumps over the lazy dog, twice.', 'Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich.',
    'Voix ambiguë d’un cœur qui au zéphyr préfère les jattes de kiwis.', 'El pingüino Wenceslao hizo kilómetros bajo exhaustiva lluvia.',
    'Съешь же ещё этих мягких французских булок, да выпей чаю.', 'Ξεσκεπάζω την ψυχοφθόρα βδελυγμία.', 'עטלף אבק נס דרך מזגן שהתפוצץ כי חם',
    'نص حكيم له سر قاطع وذو شأن عظيم', 'ऋषियों को सताने वाले दुष्ट राक्षसों के राजा', 'আমি কাঁচ খেতে পারি', 'நான் கண்ணாடி சாப்பிடுவேன்',
    'เป็นมนุษย์สุดประเสริฐเลิศคุณค่า', 'ខ្ញុំអាចញុំកញ្ចក់បាន', 'いろはにほへと ちりぬるを カタカナ', '天地玄黃宇宙洪荒，日月盈昃。辰宿列張！', '키스의 고유조건은 입술끼리 만나야 하고',
    'გთხოვთ ახლავე გაიაროთ', 'Կրնամ ապակի ուտել', 'እኔ ብርጭቆ መብላት', 'ᚠᛇᚻ᛫ᛒᛦᚦ', '𐌼𐌰𐌲 𐌲𐌻𐌴𐍃 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𝕏 𠜎𠜱𠝹 𛀀', 'Tiếng Việt có dấu: ngã, hỏi, nặng', 'Türkçe İIıi ĞŞ', 'Ʉøɮ ʤʧ ǅ ǈ ǋ ᾈ',
];
const code = [
    'for (int i = 0; i < n; ++i) {\n    sum += a[i] * b[i];\n}\n', 'def f(x, *args, **kw):\n\treturn {k: v for k, v in kw.items()}\n',
    '#include <vector>\r\nusing namespace std;\r\n', 'SELECT * FROM t WHERE a != \'b\' AND c >= 10;--x', '<div class="a b">&nbsp;</div>\n\n\n',
    'x = {"a": [1, 2.5e-3, null], "b": "\\u00e9"}', 'http://example.org/a/b?c=d&e=%20f#g', '/usr/lib//x86_64-linux-gnu/../a.so', '$$\\frac{a}{b}$$ __init__ ___ //// ****',
    'camelCaseWordAndHTMLParserXML2JSON', 'a->b::c<D<E>>(&f)', '\t\t  mixed \t tabs\n  \n\t\n',
];
const literals = ['<|endoftext|>', '<|im_start|>', '<|fim_prefix|>', '<|endofprompt|>', '</s>', '<s>', '<unk>', '[CLS]', '[SEP]', '[MASK]', '<tool_call>', '<|im_end|>', '<0x0A>', '<pad>'];
const spaces = [' ', '\t', '\n', '\r', '\r\n', '\u00a0', '\u2003', '\u3000', '\u0085', '\u2028', '\u2029', '\u180e', '\u200b', '\ufeff', '\u000b', '\u000c', '\u001f', '\u202f', '\u1680'];
const contractions = ["don't", "WE'LL", "I'M", "they've", "'s", "'S", "'ſ", "x'ſy", "it'd", "'tis", "o'clock", "’s", "you'Re", "'LL'll", "' s", "''ve", "\u212a'd", "'rE'vE'M"];
const marks = ['e\u0301', 'a\u0328\u0301', 'A\u030a', '\u1100\u1161\u11a8', 'q\u0307\u0323', 'q\u0323\u0307', '\u0344', '\u0301x', 'ﬁ ﬂ ﬆ', '½ ² ① Ⅷ ㎏', 'ｆｕｌｌ　ｗｉｄｔｈ', 'İstanbul', 'ẞß', '\u0958\u093c', 'ᾳ\u0345', '각\u11a8', '\u0f73\u0f71', '\u0300\u0301A\u0300B'];
const emoji = ['😀😃', '👩‍👩‍👧‍👦', '🇩🇪🇫🇷🇯', '👍🏽👍', '✈️✈', '#️⃣1️⃣', '🏴󠁧󠁢󠁥󠁮󠁧󠁿', '❤️‍🔥!', '🧑🏿‍🚀 to 🌕', '🫠🪿🫎'];
const numbers = ['0', '12', '123', '1234', '12345678901234567890', '3.14159', '1,000,000.50', '1e-10', '٣٤٥٦', '१२३४', '²³¹', 'Ⅳⅷ', '0x1F', '10:30', 'a1b22c333', '１２３４', '½¾ 7⅞', '2024-01-02'];
const newer = ['\u{1e94b}\u{1e900}', '\u{323af}\u{31350}', '\u1c89\u1c8a', '\u{10d4a}\u{10d70}', '\u{16d40}\u{16d70}', '\u{11bc0}', '\u{1ccf0}\u{1ccf5}', '\u{1f8b2}', '\u0295ʕ', '\ua7cb\ua7da'];
const unusual = ['\u0000', 'a\u0000b', '\u0001\u0002', '\u007f\u0080\u009f', '\ue000\uf8ff', '\u{e0001}', '\u{10ffff}', '\uffff\ufffe', '\ufffd', '\u0378\u0379', '\u{2fffe}', '\u061c\u2066\u2069'];

export function texts() {
    const random = generator(20261121);
    const all = ['', ' ', '  ', '\n', 'a', ' a', 'a ', '  a  b  '];
    for (const list of [scripts, code, literals, spaces, contractions, marks, emoji, numbers, newer, unusual]) {
        for (const text of list) all.push(text, ` ${text}`, `x${text}`, `${text} y`);
    }
    for (const a of spaces) for (const b of [' ', '\n', 'a', '1', '.', a]) all.push(`w${a}${b}v`, `w${a}${a}${b}${a}`);
    for (const unit of ['a', ' ', '\n', 'ab', 'é', '漢', '\u0301', '😀', '.', '1', "'", '\r\n', 'aA', ' a']) for (const n of [2, 33, 65, 257]) all.push(unit.repeat(n), `x${unit.repeat(n)}y`);
    for (const text of literals) all.push(`a${text}b`, `${text}${text}`, `  ${text}  `, `${text}\n${text.slice(0, -1)}`, text.toUpperCase());
    const pool = [...scripts, ...code, ...literals, ...spaces, ...contractions, ...marks, ...emoji, ...numbers, ...newer, ...unusual];
    for (let i = 0; i < 150; ++i) {
        let text = '';
        for (let k = random.below(9) + 2; k > 0; --k) text += random.pick(pool);
        all.push(text);
    }
    return all;
}

/// Few of them, for what is one small part of a tokenizer.
export function someTexts() {
    return [...texts().filter((text, i) => i % 3 === 0 && text.length < 200), ...randomTexts(150, 77), 'abc1234567 x', 'the The THE', 'aß ss SS ſs ﬆ', "don't do not . ? t", 'line one\nline two  \n\nx', 'a#b##c ##x', '12345678901234567890abc99'];
}

/// All scalar values but NUL below an end, in blocks; of those that are assigned with a letter and a space behind each.
export function everyCharacter(end = 0x110000) {
    const blocks = [];
    for (let block = 0; block < end; block += 0x800) {
        let text = '';
        for (let c = Math.max(block, 1); c < block + 0x800; ++c) if (c < 0xd800 || c >= 0xe000) text += String.fromCodePoint(c) + (block < 0x20000 ? 'a ' : '');
        if (text) blocks.push(text);
    }
    return blocks;
}

/// Every one and two bytes, then random ones at the borders of what UTF-8 allows.
export function byteStrings(count, seed) {
    const random = generator(seed);
    const borders = [0x00, 0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc1, 0xc2, 0xdf, 0xe0, 0xe1, 0xec, 0xed, 0xee, 0xef, 0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xff];
    const all = [];
    for (let a = 0; a < 256; ++a) {
        all.push(Buffer.of(a));
        for (let b = 0; b < 256; ++b) all.push(Buffer.of(a, b));
    }
    for (let i = 0; i < count; ++i) all.push(Buffer.from(Array.from({ length: random.below(10) + 3 }, () => random.pick(borders))));
    return all;
}

/// Short strings from alphabets that bring unlike characters together.
export function randomTexts(count, seed) {
    const random = generator(seed);
    const alphabets = [Array.from("ab AB 12 '\n\r.,-/sStTlLdDmMrReEvV"), Array.from(' \t\n\r\u00a0\u3000\u180e\u0085a1.é'), Array.from(scripts.join('')), Array.from(marks.join('') + emoji.join('') + newer.join('')),
        Array.from({ length: 128 }, (_, i) => String.fromCharCode(i))];
    const all = [];
    for (let i = 0; i < count; ++i) {
        let text = '';
        const alphabet = random.pick(alphabets);
        for (let k = random.below(14) + 1; k > 0; --k) {
            if (random.below(20) === 0) {
                let c = random.below(0x30000);
                if (c >= 0xd800 && c < 0xe000) c = 0x4e00;
                text += String.fromCodePoint(c);
            } else {
                text += random.pick(alphabet);
            }
        }
        all.push(text);
    }
    return all;
}
