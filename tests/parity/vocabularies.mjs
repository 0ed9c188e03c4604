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
function learn(words, count, alphabet) {
    const counts = counted(words);
    const split = counts.map(([word]) => Array.from(word));
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
