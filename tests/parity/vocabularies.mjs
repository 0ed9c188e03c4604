// tokenizer.json files for the families that no package ships: small vocabularies made here, from the texts
// themselves, with the components such models have.

const counted = (items) => {
    const counts = new Map();
    for (const item of items) counts.set(item, (counts.get(item) ?? 0) + 1);
    return [...counts].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
};

const added = (content, id, more = {}) => ({ id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true, ...more });

function file(parts) {
    return JSON.stringify({ version: '1.0', truncation: null, padding: null, added_tokens: [], normalizer: null, pre_tokenizer: null, post_processor: null, decoder: null, ...parts });
}

/// Merges learned the plain way, on few words.
function learn(words, count, alphabet, spell = Array.from) {
    const counts = counted(words);
    const split = counts.map(([word]) => spell(word));
    const merges = [], vocabulary = new Map(alphabet.map((token, id) => [token, id]));
    for (const parts of split) for (const part of parts) if (!vocabulary.has(part)) vocabulary.set(part, vocabulary.size);
    for (let round = 0; round < count; ++round) {
        const pairs = new Map();
        split.forEach((parts, w) => {
            for (let i = 0; i + 1 < parts.length; ++i) {
                const key = parts[i] + '\u0001' + parts[i + 1];
                pairs.set(key, (pairs.get(key) ?? 0) + counts[w][1]);
            }
        });
        let best = null, most = 0;
        for (const [key, n] of pairs) if (n > most) [best, most] = [key, n];
        if (most < 2) break;
        const [a, b] = best.split('\u0001');
        merges.push([a, b]);
        if (!vocabulary.has(a + b)) vocabulary.set(a + b, vocabulary.size);
        for (const parts of split)
            for (let i = 0; i + 1 < parts.length; ++i) if (parts[i] === a && parts[i + 1] === b) parts.splice(i, 2, a + b);
    }
    return { vocab: Object.fromEntries(vocabulary), merges };
}

const bytes = Array.from({ length: 256 }, (_, b) => `<0x${b.toString(16).toUpperCase().padStart(2, '0')}>`);

/// As Llama 2 and Mistral have it: the whole text is one word.
export function byteFallback(sample) {
    const words = sample.flatMap((text) => ('▁' + text.replaceAll(' ', '▁')).split(/(?=▁)/u)).filter((w) => w && w.length < 20);
    const { vocab, merges } = learn(words, 400, ['<unk>', '<s>', '</s>', ...bytes, '▁']);
    // Some characters are left to their bytes.
    const kept = Object.fromEntries(Object.entries(vocab).filter(([token]) => !/^[\u{0400}-\u{04ff}\u{20000}-\u{2ffff}]$/u.test(token)));
    const usable = merges.filter(([a, b]) => [a, b, a + b].every((token) => token in kept));
    return file({
        added_tokens: [added('<unk>', 0), added('<s>', 1), added('</s>', 2, { rstrip: true }), added('<|user|>', 9000, { rstrip: true, lstrip: true }), added('tok', 9001, { special: false, single_word: true, normalized: true })],
        normalizer: { type: 'Sequence', normalizers: [{ type: 'Prepend', prepend: '▁' }, { type: 'Replace', pattern: { String: ' ' }, content: '▁' }] },
        post_processor: { type: 'TemplateProcessing', single: [{ SpecialToken: { id: '<s>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }], pair: [], special_tokens: { '<s>': { id: '<s>', ids: [1], tokens: ['<s>'] } } },
        decoder: { type: 'Sequence', decoders: [{ type: 'Replace', pattern: { String: '▁' }, content: ' ' }, { type: 'ByteFallback' }, { type: 'Fuse' }, { type: 'Strip', content: ' ', start: 1, stop: 0 }] },
        model: { type: 'BPE', dropout: null, unk_token: '<unk>', continuing_subword_prefix: null, end_of_word_suffix: null, fuse_unk: true, byte_fallback: true, ignore_merges: false, vocab: kept, merges: usable.map((m) => m.join(' ')) },
    });
}

/// As Gemma has it, without bytes: unknown characters.
export function unknownCharacters(sample) {
    const words = sample.flatMap((text) => text.split(/(?<= )/u)).filter((w) => w && w.length < 20).map((w) => w.replaceAll(' ', '▁'));
    const { vocab, merges } = learn(words, 300, ['<unk>', '▁']);
    const kept = Object.fromEntries(Object.entries(vocab).filter(([token]) => !/^[^\u0000-\u04ff▁]$/u.test(token)));
    return file({
        added_tokens: [added('<unk>', 0)],
        normalizer: { type: 'Replace', pattern: { String: ' ' }, content: '▁' },
        pre_tokenizer: { type: 'Split', pattern: { String: '▁' }, behavior: 'MergedWithPrevious', invert: false },
        decoder: { type: 'Metaspace', replacement: '▁', prepend_scheme: 'never', split: true },
        model: { type: 'BPE', unk_token: '<unk>', fuse_unk: false, byte_fallback: false, vocab: kept, merges: merges.filter(([a, b]) => [a, b, a + b].every((token) => token in kept)) },
    });
}

/// As BERT has it. @param options  of the normalizer.
export function wordPiece(sample, options) {
    const words = sample.flatMap((text) => text.normalize('NFD').replace(/\p{Mn}/gu, '').split(/\s+|(?<=\p{P})|(?=\p{P})/u)).filter(Boolean);
    const pieces = new Set(['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]']);
    for (const [word] of counted(words)) {
        const letters = Array.from(word);
        letters.slice(0, 12).forEach((c, i) => pieces.add(i === 0 ? c : `##${c}`));
        if (letters.length > 2) pieces.add(letters.slice(0, 3).join('')).add(`##${letters.slice(-2).join('')}`).add(`##${letters.slice(1, 3).join('').toLowerCase()}`);
        if (letters.length < 7) pieces.add(word.toLowerCase()).add(word);
    }
    return file({
        added_tokens: ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]'].map((token, id) => added(token, id, token === '[MASK]' ? { lstrip: true } : {})),
        normalizer: { type: 'BertNormalizer', clean_text: true, handle_chinese_chars: true, strip_accents: null, lowercase: true, ...options },
        pre_tokenizer: { type: 'BertPreTokenizer' },
        post_processor: { type: 'BertProcessing', sep: ['[SEP]', 3], cls: ['[CLS]', 2] },
        decoder: { type: 'WordPiece', prefix: '##', cleanup: true },
        model: { type: 'WordPiece', unk_token: '[UNK]', continuing_subword_prefix: '##', max_input_chars_per_word: 100, vocab: Object.fromEntries([...pieces].map((token, id) => [token, id])) },
    });
}

/// As T5 and XLM-R have it.
export function unigram(sample, { fallback, scheme, normalizer }) {
    const words = sample.flatMap((text) => ('▁' + text.replaceAll(' ', '▁')).split(/(?=▁)/u)).filter((w) => w && w.length < 24);
    const parts = [];
    for (const word of words) {
        const letters = Array.from(word);
        for (let i = 0; i < letters.length; ++i) for (let n = 1; n <= 5 && i + n <= letters.length; ++n) parts.push(letters.slice(i, i + n).join(''));
    }
    const common = counted(parts).filter(([part, n]) => n > 2 || (Array.from(part).length === 1 && /[\u0020-\u03ff]/u.test(part))).slice(0, 4000);
    const vocab = [['<unk>', 0], ['</s>', 0], ...(fallback ? bytes.map((b) => [b, -20]) : []), ...common.map(([part, n]) => [part, Math.round(1e6 * Math.log(n / parts.length)) / 1e6])];
    return file({
        added_tokens: [added('<unk>', 0), added('</s>', 1)],
        normalizer,
        pre_tokenizer: { type: 'Sequence', pretokenizers: [{ type: 'WhitespaceSplit' }, { type: 'Metaspace', replacement: '▁', prepend_scheme: scheme, split: true }] },
        post_processor: { type: 'TemplateProcessing', single: [{ Sequence: { id: 'A', type_id: 0 } }, { SpecialToken: { id: '</s>', type_id: 0 } }], pair: [], special_tokens: { '</s>': { id: '</s>', ids: [1], tokens: ['</s>'] } } },
        decoder: { type: 'Metaspace', replacement: '▁', prepend_scheme: scheme, split: true },
        model: { type: 'Unigram', unk_id: 0, byte_fallback: fallback, vocab },
    });
}

/// Byte level with steps behind the map, as Falcon has it, and patterns that only PCRE2 runs.
export function byteLevel(gpt2, pre_tokenizer, more = {}) {
    return JSON.stringify({ ...gpt2, pre_tokenizer, ...more });
}

/// The characters that byte level writes bytes as.
const byteCharacters = (() => {
    const itself = (b) => (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
    let next = 256;
    return Array.from({ length: 256 }, (_, b) => String.fromCodePoint(itself(b) ? b : next++));
})();

/// As CLIP has it: words end in a mark of their own, and what is no word is dropped.
export function clip(sample) {
    const pattern = "'s|'t|'re|'ve|'m|'ll|'d|[\\p{L}]+|[\\p{N}]|[^\\s\\p{L}\\p{N}]+";
    const words = sample.flatMap((text) => text.normalize('NFC').toLowerCase().match(new RegExp(pattern, 'gu')) ?? []).filter((w) => w.length < 20);
    const spell = (word) => {
        const parts = Array.from(Buffer.from(word), (b) => byteCharacters[b]);
        parts.push(parts.pop() + '</w>');
        return parts;
    };
    const { vocab, merges } = learn(words, 500, [...byteCharacters, ...byteCharacters.map((c) => c + '</w>')], spell);
    const start = Object.keys(vocab).length;
    vocab['<|startoftext|>'] = start;
    vocab['<|endoftext|>'] = start + 1;
    return file({
        added_tokens: [added('<|startoftext|>', start, { normalized: true }), added('<|endoftext|>', start + 1)],
        normalizer: { type: 'Sequence', normalizers: [{ type: 'NFC' }, { type: 'Replace', pattern: { Regex: '\\s+' }, content: ' ' }, { type: 'Lowercase' }] },
        pre_tokenizer: { type: 'Sequence', pretokenizers: [{ type: 'Split', pattern: { Regex: pattern }, behavior: 'Removed', invert: true }, { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true }] },
        post_processor: { type: 'RobertaProcessing', sep: ['<|endoftext|>', start + 1], cls: ['<|startoftext|>', start], trim_offsets: false, add_prefix_space: false },
        decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
        model: { type: 'BPE', dropout: null, unk_token: '<|endoftext|>', continuing_subword_prefix: '', end_of_word_suffix: '</w>', fuse_unk: false, byte_fallback: false, vocab, merges: merges.map((m) => m.join(' ')) },
    });
}

/// A double-array trie of texts to numbers, as SentencePiece stores its rules. Below the unit at p the child
/// of byte c stands at (p ^ offset) ^ c, and the number of what ends here at p ^ offset.
function doubleArray(entries) {
    const root = { children: new Map() };
    for (const [text, value] of entries) {
        let node = root;
        for (const byte of Buffer.from(text)) {
            if (!node.children.has(byte)) node.children.set(byte, { children: new Map() });
            node = node.children.get(byte);
        }
        node.value = value;
    }
    // No two nodes have their children at one base: a label alone says whose child a unit is.
    const units = [0], taken = new Set([0]), bases = new Set();
    let free = 1;
    const place = (node, at, label) => {
        const bytes = [...node.children.keys()].sort((a, b) => a - b);
        const wanted = node.value === undefined ? bytes : [0, ...bytes];
        while (taken.has(free)) ++free;
        let base = free;
        while (bases.has(base) || wanted.some((c) => taken.has(base ^ c))) ++base;
        bases.add(base);
        for (const c of wanted) taken.add(base ^ c);
        units[at] = (label | (node.value === undefined ? 0 : 0x100) | ((at ^ base) << 10)) >>> 0;
        if (node.value !== undefined) units[base] = (node.value | 0x80000000) >>> 0;
        for (const c of bytes) place(node.children.get(c), base ^ c, c);
    };
    place(root, 0, 0);
    const out = new Uint32Array(Math.ceil((Math.max(...taken) + 1) / 256) * 256);
    for (const [at, unit] of units.entries()) out[at] = unit ?? 0;
    return out;
}

/// Rules of characters as SentencePiece stores them: the trie of what is replaced, then the replacements.
function packedRules(rules) {
    const places = new Map();
    let texts = '';
    for (const [, to] of rules) {
        if (places.has(to)) continue;
        places.set(to, Buffer.byteLength(texts));
        texts += to + '\0';
    }
    const trie = doubleArray(rules.map(([from, to]) => [from, places.get(to)]));
    const size = Buffer.alloc(4);
    size.writeUInt32LE(trie.byteLength);
    return Buffer.concat([size, Buffer.from(trie.buffer), Buffer.from(texts)]).toString('base64');
}

/// The rules of NFKC for much of what differs, composed pairs among them; white space as a space, controls gone.
export function charsmap() {
    const rules = new Map();
    const add = (from, to) => { if (from !== to) rules.set(from, to); };
    for (const [first, last] of [[0xa0, 0x17ff], [0x1e00, 0x1fff], [0x2000, 0x33ff], [0xac00, 0xac40], [0xf900, 0xfaff], [0xfb00, 0xffee], [0x1d400, 0x1d4ff]])
        for (let c = first; c <= last; ++c) add(String.fromCodePoint(c), String.fromCodePoint(c).normalize('NFKC'));
    for (const letter of 'aeiouAEIOUncNCyszSZ') for (const mark of '\u0300\u0301\u0302\u0303\u0308\u030a\u0327\u0328\u030c') add(letter + mark, (letter + mark).normalize('NFKC'));
    for (let c = 1; c < 0x20; ++c) rules.set(String.fromCharCode(c), '\t\n\r'.includes(String.fromCharCode(c)) ? ' ' : '');
    for (const c of '\u007f\u200b\ufeff\u00ad') rules.set(c, '');
    for (const c of '\u0085\u00a0\u1680\u2003\u2028\u2029\u202f\u3000') rules.set(c, ' ');
    rules.set('👍🏽', '+1');
    return packedRules([...rules]);
}

/// Byte level with some merges, some of them across the bytes of a character.
function smallBytes(more, { missing = '' } = {}) {
    const merges = [['t', 'h'], ['th', 'e'], ['Ġ', 'the'], ['Ġ', 't'], ['Ġ', 'Ġ'], ['ĠĠ', 'a'], ['e', 'Ġ'], ['Ċ', 'Ċ'], ['i', 'n'], ['a', 'b'], ['Ġ', 'a'], ['Ã', '©'], ['e', 'Ì'], ['ã', 'ģ'], ['ä', '¸'], ['ð', 'Ł'], ['ðŁ', 'ĺ'], ['f', 'i'], ['Ġ', '1'], ['1', '2'], ['Â', 'ł'], ['ãĢ', 'Ģ'], ['ã', 'Ģ']];
    const tokens = [...byteCharacters.filter((c) => !missing.includes(c)), ...merges.map((m) => m.join(''))].filter((token, i, all) => all.indexOf(token) === i);
    const known = new Set(tokens);
    return file({
        added_tokens: [
            added('<|endoftext|>', tokens.length), added('<s>', tokens.length + 1, { lstrip: true }), added('</s>', tokens.length + 2, { rstrip: true }),
            added('[MASK]', tokens.length + 3, { lstrip: true, rstrip: true }), added('Boxk', tokens.length + 4, { special: false, normalized: true, lstrip: true }), added('and', tokens.length + 5, { special: false, normalized: true, single_word: true }),
        ],
        pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true },
        decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
        model: { type: 'BPE', dropout: null, unk_token: null, continuing_subword_prefix: null, end_of_word_suffix: null, fuse_unk: false, byte_fallback: false, ignore_merges: false, vocab: Object.fromEntries(tokens.map((token, id) => [token, id])), merges: merges.filter(([a, b]) => known.has(a) && known.has(b)).map((m) => m.join(' ')) },
        ...more,
    });
}

const precompiled = {
    type: 'Precompiled',
    precompiled_charsmap: packedRules(Object.entries({ '\t': ' ', '\n': ' ', '\u3000': ' ', '\u00a0': ' ', ﬁ: 'fi', ﬂ: 'fl', '½': '1⁄2', '…': '...', '①': '1', 'e\u0301': 'é', 'A\u030a': 'Å', '\u0301': '', '\u200b': '', '\ufeff': '', '\r': '', Ⅷ: 'VIII', ｆ: 'f', ｕ: 'u', '\u{1f1e9}': 'D', 漢: 'kan', '\u0000': '' })),
};

/// What offsets have to go through: every normalizer, post-processors that trim, prefixes, unknown characters.
export function offsetCases(sample) {
    const normalizers = {
        nfc: { type: 'NFC' }, nfd: { type: 'NFD' }, nfkc: { type: 'NFKC' }, nfkd: { type: 'NFKD' }, lowercase: { type: 'Lowercase' }, 'strip accents': { type: 'StripAccents' },
        strip: { type: 'Strip', strip_left: true, strip_right: true }, 'strip left': { type: 'Strip', strip_left: true, strip_right: false }, 'strip right': { type: 'Strip', strip_left: false, strip_right: true },
        prepend: { type: 'Prepend', prepend: 'a\u00e9' }, 'replace text': { type: 'Replace', pattern: { String: ' ' }, content: '▁' }, 'replace by nothing': { type: 'Replace', pattern: { Regex: '[aeiou]' }, content: '' },
        'replace runs': { type: 'Replace', pattern: { Regex: '\\s+' }, content: ' é' }, bert: { type: 'BertNormalizer', clean_text: true, handle_chinese_chars: true, strip_accents: null, lowercase: true }, precompiled,
        'many steps': { type: 'Sequence', normalizers: [{ type: 'NFKD' }, { type: 'StripAccents' }, { type: 'Lowercase' }, { type: 'Replace', pattern: { Regex: '[^a-z]{2,}' }, content: ' 1' }, { type: 'NFKC' }, { type: 'Strip', strip_left: true, strip_right: true }, { type: 'Prepend', prepend: ' ' }] },
        'composed again': { type: 'Sequence', normalizers: [{ type: 'NFD' }, { type: 'NFC' }, precompiled, { type: 'NFKC' }] },
    };
    const bytes = (add_prefix_space, trim_offsets) => ({ type: 'ByteLevel', add_prefix_space, trim_offsets, use_regex: true });
    const roberta = (add_prefix_space) => ({ type: 'RobertaProcessing', sep: ['</s>', 2], cls: ['<s>', 1], trim_offsets: true, add_prefix_space });
    const cases = {};
    for (const [name, normalizer] of Object.entries(normalizers)) cases[name] = smallBytes({ normalizer });
    return {
        ...cases,
        trimmed: smallBytes({ post_processor: bytes(false, true) }),
        'trimmed, prefix': smallBytes({ pre_tokenizer: bytes(true, true), post_processor: bytes(true, true) }),
        'trimmed by roberta': smallBytes({ pre_tokenizer: bytes(true, true), post_processor: roberta(true), normalizer: { type: 'NFKC' } }),
        'trimmed twice': smallBytes({ pre_tokenizer: bytes(true, true), post_processor: { type: 'Sequence', processors: [bytes(true, true), roberta(false)] } }),
        'prefix not trimmed': smallBytes({ pre_tokenizer: bytes(true, false), post_processor: bytes(true, false) }),
        'bytes that vanish': smallBytes({}, { missing: 'eÃĠ' }),
        'mapped in between': smallBytes({ pre_tokenizer: { type: 'Sequence', pretokenizers: [{ type: 'Punctuation', behavior: 'Isolated' }, bytes(true, true), { type: 'Split', pattern: { String: 'Ġ' }, behavior: 'MergedWithNext', invert: false }] }, normalizer: { type: 'NFD' } }),
        ...modelCases(sample, { bytes }),
    };
}

function modelCases(sample, { bytes }) {
    const words = sample.flatMap((text) => ('▁' + text.replaceAll(' ', '▁')).split(/(?=▁)/u)).filter((w) => w && w.length < 20);
    const { vocab, merges } = learn(words, 200, ['<unk>', '▁']);
    const bpe = (pre_tokenizer, model, more = {}) => file({
        added_tokens: [added('<unk>', (model.vocab ?? vocab)['<unk>']), added('</s>', Object.keys(vocab).length, { rstrip: true }), added('[MASK]', Object.keys(vocab).length + 1, { lstrip: true, normalized: true })],
        pre_tokenizer,
        decoder: { type: 'Metaspace', replacement: '▁', prepend_scheme: 'always', split: true },
        model: { type: 'BPE', unk_token: null, fuse_unk: false, byte_fallback: false, vocab, merges: merges.map((m) => m.join(' ')), ...model },
        ...more,
    });
    const rare = Object.fromEntries(Object.keys(vocab).filter((token) => !/^[\u0400-\u04ffaeg漢]$/u.test(token)).map((token, id) => [token, id]));
    const kept = merges.filter(([a, b]) => [a, b, a + b].every((token) => token in rare)).map((m) => m.join(' '));
    const metaspace = (prepend_scheme, split) => ({ type: 'Metaspace', replacement: '▁', prepend_scheme, split });
    const letters = 'abcdefghijklmnopqrstuvwxyz0123456789.,éÃĠ©ĊÂł'.split('');
    const marked = ['<unk>', ...letters, ...letters.map((c) => `${c}</w>`), 'th', 'the</w>', 'in</w>', 'an'];
    const unigramOf = (more) => ({ ...JSON.parse(unigram(sample, { fallback: true, scheme: 'always', normalizer: null })), ...more });
    return {
        'characters that vanish': bpe(metaspace('always', true), { vocab: rare, merges: kept }, { added_tokens: [] }),
        'unknown ones fused': bpe(metaspace('first', false), { unk_token: '<unk>', fuse_unk: true, vocab: rare, merges: kept }),
        'unknown ones apart': bpe(metaspace('always', false), { unk_token: '<unk>', vocab: rare, merges: kept }),
        'metaspace first': bpe(metaspace('first', true), { unk_token: '<unk>' }, { normalizer: { type: 'NFKC' } }),
        'metaspace never': bpe(metaspace('never', true), { unk_token: '<unk>' }, { normalizer: { type: 'Replace', pattern: { Regex: ' {2,}' }, content: ' ' } }),
        'ends of words': file({
            added_tokens: [added('<unk>', 0)],
            normalizer: { type: 'Sequence', normalizers: [{ type: 'NFC' }, { type: 'Replace', pattern: { Regex: '\\s+' }, content: ' ' }, { type: 'Lowercase' }] },
            pre_tokenizer: { type: 'Sequence', pretokenizers: [{ type: 'Split', pattern: { Regex: "'s|'t|[\\p{L}]+|[\\p{N}]|[^\\s\\p{L}\\p{N}]+" }, behavior: 'Removed', invert: true }, { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true }] },
            post_processor: { type: 'RobertaProcessing', sep: ['<unk>', 0], cls: ['<unk>', 0], trim_offsets: false, add_prefix_space: false },
            decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
            model: { type: 'BPE', unk_token: '<unk>', continuing_subword_prefix: '', end_of_word_suffix: '</w>', fuse_unk: false, vocab: Object.fromEntries(marked.map((token, id) => [token, id])), merges: ['t h', 'th e</w>', 'i n</w>', 'a n'] },
        }),
        'unigram, charsmap': JSON.stringify(unigramOf({ normalizer: { type: 'Sequence', normalizers: [precompiled, { type: 'Replace', pattern: { Regex: ' {2,}' }, content: '▁' }] } })),
        'unigram, trimmed': JSON.stringify(unigramOf({ normalizer: { type: 'NFKC' }, post_processor: bytes(true, true), pre_tokenizer: metaspace('always', false), model: { ...unigramOf({}).model, byte_fallback: false } })),
    };
}

/// The file with special tokens that no text can spell, the rest of it unchanged: what the engine gives then
/// is what it gives where specials are text.
export function withoutSpecials(json) {
    const whole = JSON.parse(json);
    const vocabulary = whole.model.vocab;
    const known = new Set(Array.isArray(vocabulary) ? vocabulary.map(([piece]) => piece) : Object.keys(vocabulary));
    whole.added_tokens = whole.added_tokens
        .filter(({ special, content }) => !special || !known.has(content))
        .map((token) => (token.special ? { ...token, content: `\u{10fffd}${token.id}\u{10fffc}` } : token));
    whole.post_processor = null;
    return JSON.stringify(whole);
}

/// Every byte is a token: ids are what the normalizer made of a text.
export function everyByte(normalizer) {
    return file({
        normalizer,
        decoder: { type: 'Sequence', decoders: [{ type: 'ByteFallback' }, { type: 'Fuse' }] },
        model: { type: 'BPE', unk_token: null, byte_fallback: true, vocab: Object.fromEntries(bytes.map((b, i) => [b, i])), merges: [] },
    });
}

/// Nothing is a token: offsets are what the pre-tokenizer made of a text.
export function everyPiece(pre_tokenizer) {
    return file({ pre_tokenizer, model: { type: 'WordPiece', unk_token: '?', continuing_subword_prefix: '##', max_input_chars_per_word: 100, vocab: { '?': 0 } } });
}

/// One component at a time, in a form that people's files seldom have.
export function componentCases(sample) {
    const letters = [...new Set('abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .,!?\'"-_/éßſ漢字\n\t▁#')];
    const numbered = (tokens) => Object.fromEntries([...new Set(tokens)].map((token, id) => [token, id]));
    const joins = [['t', 'h'], ['th', 'e'], ['i', 'n'], ['a', 'n'], ['e', 'r'], ['1', '2'], ['3', '4'], ['.', '.'], ['s', 's'], [' ', 't'], ['12', '34'], [' ', 'a']];
    const bpe = (more = {}, model = {}) => file({
        decoder: { type: 'Fuse' },
        model: { type: 'BPE', unk_token: '<unk>', fuse_unk: false, byte_fallback: false, vocab: numbered(['<unk>', ...letters, ...joins.map((m) => m.join(''))]), merges: joins, ...model },
        ...more,
    });
    const words = { pre_tokenizer: { type: 'WhitespaceSplit' } };
    const marked = [['t', '##h'], ['th', '##e'], ['##i', '##n'], ['##e', '##r'], ['a', '##n'], ['##s', '##s'], ['##1', '##2']];
    const prefixed = (model = {}, more = words) =>
        bpe(more, { vocab: numbered(['<unk>', ...letters.flatMap((c) => [c, `##${c}`]), ...marked.map(([a, b]) => a + b.slice(2))]), merges: marked, continuing_subword_prefix: '##', ...model });
    const ended = [['t', '##h'], ['th', '##e</w>'], ['##i', '##n</w>']];
    const split = (pattern, behavior, invert = false) => bpe({ pre_tokenizer: { type: 'Split', pattern, behavior, invert } });
    const vowels = { Regex: '[aeiou]+|\\s' }, th = { String: 'th' };
    const wordPieces = (change) => {
        const whole = JSON.parse(wordPiece(sample, {}));
        change(whole);
        return JSON.stringify(whole);
    };
    const space = (more) => ({ type: 'Metaspace', replacement: '▁', prepend_scheme: 'always', split: true, ...more });
    const own = (content, id, more = {}) => added(content, id, { special: false, normalized: true, ...more });
    const strip = (start, stop) => ({ type: 'Strip', content: 't', start, stop });
    return {
        'split, removed': split(th, 'Removed'),
        'split, removed, inverted': split(vowels, 'Removed', true),
        'split, isolated, inverted': split(vowels, 'Isolated', true),
        'split, with previous': split(th, 'MergedWithPrevious'),
        'split, with previous, inverted': split(vowels, 'MergedWithPrevious', true),
        'split, with next': split(vowels, 'MergedWithNext'),
        'split, with next, inverted': split(th, 'MergedWithNext', true),
        'split, contiguous': split(vowels, 'Contiguous'),
        'punctuation, removed': bpe({ pre_tokenizer: { type: 'Punctuation', behavior: 'Removed' } }),
        'punctuation, with previous': bpe({ pre_tokenizer: { type: 'Punctuation', behavior: 'MergedWithPrevious' } }),
        'punctuation, with next': bpe({ pre_tokenizer: { type: 'Punctuation', behavior: 'MergedWithNext' } }),
        'digits, one by one': bpe({ pre_tokenizer: { type: 'Digits', individual_digits: true } }),
        'metaspace, digits, punctuation': bpe({ pre_tokenizer: { type: 'Sequence', pretokenizers: [space({ prepend_scheme: 'first' }), { type: 'Digits', individual_digits: true }, { type: 'Punctuation', behavior: 'Isolated' }] } }),
        'metaspace behind a split': bpe({ pre_tokenizer: { type: 'Sequence', pretokenizers: [{ type: 'Split', pattern: { String: ' ' }, behavior: 'MergedWithNext', invert: false }, space({ prepend_scheme: 'first' })] } }),
        'metaspace of another sign': bpe({ pre_tokenizer: space({ replacement: '_' }), decoder: space({ replacement: '_' }) }),
        'prefix of parts': prefixed(),
        'prefix of parts, unknown fused': prefixed({ fuse_unk: true }),
        'prefix of parts, merges ignored': prefixed({ ignore_merges: true }),
        'prefix of parts, no unknown': prefixed({ unk_token: null }, {}),
        'prefix and suffix': bpe(words, { vocab: numbered(['<unk>', ...letters.flatMap((c) => [c, `##${c}`, `${c}</w>`, `##${c}</w>`]), ...ended.map(([a, b]) => a + b.slice(2))]), merges: ended, continuing_subword_prefix: '##', end_of_word_suffix: '</w>' }),
        'bytes, no unknown': bpe({}, { byte_fallback: true, unk_token: null, vocab: numbered([...bytes, ...letters, ...joins.map((m) => m.join(''))]) }),
        'some of the bytes': bpe({}, { byte_fallback: true, vocab: numbered(['<unk>', ...bytes.slice(0, 200), ...letters, ...joins.map((m) => m.join(''))]) }),
        'some of the bytes, fused': bpe({}, { byte_fallback: true, fuse_unk: true, vocab: numbered(['<unk>', ...bytes.slice(0, 200), ...letters, ...joins.map((m) => m.join(''))]) }),
        'words of no character': wordPieces((w) => { w.model.max_input_chars_per_word = 0; }),
        'words of five characters': wordPieces((w) => { w.model.max_input_chars_per_word = 5; }),
        'wordpiece without prefix': wordPieces((w) => { w.model.continuing_subword_prefix = ''; }),
        'wordpiece of whole texts': wordPieces((w) => { w.pre_tokenizer = null; }),
        'wordpiece without its name': wordPieces((w) => { delete w.model.type; }),
        'wordpiece, no clean-up': wordPieces((w) => { w.decoder.cleanup = false; }),
        'bert, text as it is': wordPiece(sample, { clean_text: false }),
        'bert, accents alone': wordPiece(sample, { strip_accents: true, lowercase: false }),
        'bert, lower case alone': wordPiece(sample, { strip_accents: false, lowercase: true }),
        'bert, nothing': wordPiece(sample, { clean_text: false, handle_chinese_chars: false, strip_accents: false, lowercase: false }),
        'added, lower case': bpe({ normalizer: { type: 'Lowercase' }, added_tokens: [own('THE', 600), own('Quick', 601, { single_word: true }), own('fox', 602, { normalized: false, lstrip: true }), own(' jumps', 603), own('é', 604, { single_word: true, rstrip: true }), own('<s>', 605, { special: true })] }),
        'added, spaces': bpe({ added_tokens: [own('  ', 600), own(' ', 601, { rstrip: true }), own('\n', 602, { lstrip: true, rstrip: true }), own('a', 603, { lstrip: true, single_word: true })] }),
        'decoder bpe': bpe({ decoder: { type: 'BPEDecoder', suffix: 'e' } }),
        'decoder strip': bpe({ decoder: strip(0, 1) }),
        'decoder replace': bpe({ decoder: { type: 'Sequence', decoders: [{ type: 'Replace', pattern: { Regex: '[aeiou]' }, content: '*' }, { type: 'Fuse' }] } }),
        'decoder wordpiece': bpe({ decoder: { type: 'WordPiece', prefix: 'h', cleanup: true } }),
        'no decoder': bpe({ decoder: null }),
    };
}
