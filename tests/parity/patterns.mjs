// Patterns for the engine's regular expressions (Oniguruma): what both read alike, what has to be written another way
// for PCRE2, and what is refused because the two disagree.

export const patternTexts = [
    '1234 12345 1234567 x12', 'aab b ab aaab aaaab a{,3}b a{b', 'a\nb\n', 'x\n\n', 'ß ss SS ſs ﬆ st ST ﬀ ff fi ﬁ', "don't DON'T she'LL Kelvin \u212a k", '²³¹¼½¾ x² 1½', '\u1c89\u1c8a\ua640 \u{1e030}x',
    '\u{31350}\u{2ebf0}漢字 \u{1b132}\u{1b155}ひカ', '\u{1fae8}\u{1f600}😀 \u{1ccf0}1 \u{1d2c0}', 'a-b_c-d e--f', '\u0085\u2028\u3000\u180e\u200b', 'a]b}c{d', '[x] <y> \'z\' `#~@&',
];

/// @see everyCharacter.
export const characterPatterns = [
    '\\w', '[\\w]+', '[^\\w\\s]+', '\\W+', '[^\\s\\d]+', '[\\p{C}\\p{Z}]', '\\P{^Lu}|\\p{Nl}|\\p{M}', "(?i:[^k]'[sdmt]|ll|ve|re)|(?i:k)",
];

export const takenPatterns = [
    '\\p{N}{1,3}+|\\p{L}+', '\\p{N}{2}+', 'a{2}?b', 'a{1,2}?', 'a{,3}b', 'a{,2}?b', '(?:\\w\\w){1,2}+', '\\s{0,2}+', '(?:a?)+', '(?:a|b*)*', '(?:|a)+', '(?:a*)*', '((a)?b)+?', '(?:(a|)|b)?', '(?:(?:a|b)(?=c|b)){1,2}', 'a?+b', '\\s++$|\\w++', 'a{b', 'a}', 'a]',
    '(?m:a.b)', '(?m).+', '.+', '^\\s+|\\w+$', '(?m)^.$', '\\n^', '\\A\\w', '\\w\\z', 'x*', 'a|', '(?:)',
    'a(?i)b|c', '(?i)the|x', '((?i)a)b', '(?-i:a)', "(?i:'s|'t|'re|'ve|'m|'ll|'d)|\\w", '(?i:’s|漢)', '(?i:[a-z0-9_ ]+)',
    '(?<=a|bb)c', '(?<!a)b', '(?=a)b*', '(?>\\s+)\\S', '(?<n>a)b', '(a)(b)',
    '[a-c-e]+', '[0-9-_]+', '[\\w-]+', '[-a]+', '[^-a]+', '[^\\S\\n]+', '\\x{4e00}|\\x41|\\u00e9', '[\\!\\<\\>\\\'\\`\\#\\ \\@\\&\\]\\[\\^\\-]+', '[\\u4e00-\\u9fff]+', '[\u{1f300}-\u{1faff}]+', '[\u0000-\uffff]+', '[\ua640\ua641]', '[^\u0800-\u0820\u4e00]+',
    '\\p{Cyrillic}+', '[\\p{Han}\\p{Hiragana}\\p{Katakana}]+', '[\\p{Latin}\\p{old italic}]+', '\\p{Common}',
];

/// Each letter, number or sign of these has another meaning to PCRE2, or none to the engine.
export const refusedPatterns = [
    '(?s:a.)', '(?x) a b', '(?i:ss)', '(?i:s(?:t|x))', '(?i:[s]s)', '(?i:fi)', '(?i:s{2})', '(?i)é', '(?i:\\p{Lu})', '(?i:[\\p{L}])', '(?#x)a', '(?P<n>a)', '(?|a|b)', '(a)?(?(1)b|c)', '(*FAIL)', 'a**', 'a+*', 'a{2}{3}', 'a{1,3}++', '^*', '(?=a)*',
    '\\pL', '\\p{Letter}', '\\p{Hani}', '\\p{Unknown}', '\\p{Kawi}', '\\p{Emoji}', '\\xe9', '\\x4', '\\x{41 42}', '\\é', '\\v', '\\h', '\\b', '\\B', '\\R', '\\X', '\\K', '\\G', '\\Z', '\\N', '\\1', '\\k<n>', '[[:alpha:]]', '[a[bc]]', '[a-z&&b]', '[]a]', '[\\W]', '[\\s-a]', '[z-a]', '[--/]',
    '((?:|\\p{N}+|)+?a){2,}', '(?:(?=a)b?){2,}', '(?:$(a)*){2}', '(?:a?){2}', '(?:(a)?)*', '(?:^|a)*', '(?:a{0,2})+?', '(?:a{2}?)*+', '(?:b|(a*))+',
    '(a', 'a)', '[a', 'a\\',
];

/// Of characters that PCRE2's tables may be too old for: equal, or refused.
export const newerPatterns = ['\u1c89', '[\u1c80-\u1c8f]', '\u{1fae8}+', '\\p{Egyptian_Hieroglyphs}', '\\p{Mongolian}+|\\s'];

const scripts = `Adlam Ahom Anatolian_Hieroglyphs Arabic Armenian Avestan Balinese Bamum Bassa_Vah Batak Bengali Bhaiksuki Bopomofo Brahmi Braille Buginese Buhid Canadian_Aboriginal Carian Caucasian_Albanian Chakma Cham Cherokee Chorasmian Common Coptic Cuneiform Cypriot Cypro_Minoan Cyrillic Deseret Devanagari Dives_Akuru Dogra Duployan Elbasan Elymaic Ethiopic Georgian Glagolitic Gothic Grantha Greek Gujarati Gunjala_Gondi Gurmukhi Han Hangul Hanifi_Rohingya Hanunoo Hatran Hebrew Hiragana Imperial_Aramaic Inherited Inscriptional_Pahlavi Inscriptional_Parthian Javanese Kaithi Kannada Katakana Kayah_Li Kharoshthi Khitan_Small_Script Khmer Khojki Khudawadi Lao Latin Lepcha Limbu Linear_A Linear_B Lisu Lycian Lydian Mahajani Makasar Malayalam Mandaic Manichaean Marchen Masaram_Gondi Medefaidrin Meetei_Mayek Mende_Kikakui Meroitic_Cursive Meroitic_Hieroglyphs Miao Modi Mro Multani Myanmar Nabataean Nandinagari New_Tai_Lue Newa Nko Nushu Nyiakeng_Puachue_Hmong Ogham Ol_Chiki Old_Hungarian Old_Italic Old_North_Arabian Old_Permic Old_Persian Old_Sogdian Old_South_Arabian Old_Turkic Old_Uyghur Oriya Osage Osmanya Pahawh_Hmong Palmyrene Pau_Cin_Hau Phags_Pa Phoenician Psalter_Pahlavi Rejang Runic Samaritan Saurashtra Sharada Shavian Siddham SignWriting Sinhala Sogdian Sora_Sompeng Soyombo Sundanese Syloti_Nagri Syriac Tagalog Tagbanwa Tai_Le Tai_Tham Tai_Viet Takri Tamil Tangsa Tangut Telugu Thaana Thai Tibetan Tifinagh Tirhuta Toto Ugaritic Vai Vithkuqi Wancho Warang_Citi Yezidi Yi Zanabazar_Square`.split(' ');

/// Each script is in some of these, no two in the same ones.
export const scriptPatterns = Array.from({ length: 8 }, (_, bit) => `[${scripts.filter((_, i) => (((i + 1) >> bit) & 1) === 1).map((name) => `\\p{${name}}`).join('')}]`);
