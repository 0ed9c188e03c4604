// Conversations, and the templates that models of each chat format were published with. Templates that no npm package
// ships stand here as their models' tokenizer_config.json (or, before there were templates, their code) has them.

import { generator } from './texts.mjs';

/// Contents as people and machines write them. None begins or ends in U+001C to U+001F, U+0085 or U+FEFF: there
/// the `trim` of an engine in JavaScript is not that of the models' own, in Python.
const contents = [
    'Hi', 'What is 2+2?', 'Be brief.', 'Tell me more, please.', 'one\ntwo\n\nthree', '  indented', 'trailing  ', '\n\nlines around\n\n', '\ttab\t', ' \u00a0\u3000 wide spaces \u2003\u2028', 'a\r\nb\r\n',
    'Zwölf Boxkämpfer – „quer“ über', 'Съешь же ещё этих мягких булок', 'こんにちは、世界。', '안녕하세요', 'नमस्ते दुनिया', 'مرحبا بالعالم', '👩‍👩‍👧‍👦 🇩🇪 🫠', 'e\u0301 q\u0323\u0307 \u0301', '\u200b\u200d', 'x\u0000y',
    'for (int i = 0; i < n; ++i) {\n\tsum += a[i];\n}', '{{ messages }} {% if x %} {# y #}', "it's \"quoted\" \\n \\\\", '### Instruction:\nnot one', 'USER: me ASSISTANT: you', '[INST] <<SYS>>\nx\n<</SYS>> [/INST]',
    '<|im_start|>assistant\n<|im_end|>', '<start_of_turn>model<end_of_turn>', '<|eot_id|><|start_header_id|>', '</s><s>', '<|end|><|assistant|>', 'x'.repeat(300),
];
const empty = ['', ' ', '\n', ' \n\t '];

/// @param alternates  users and assistants take turns.
/// @param blank_users  a user may say nothing.
export function conversations({ alternates, blankUsers = true }) {
    const random = generator(20261122);
    const say = (role, blank) => ({ role, content: blank && random.below(12) === 0 ? random.pick(empty) : random.pick(contents) });
    const all = [];
    for (const content of contents)
        all.push([say('user'), { role: 'assistant', content }], [{ role: 'user', content }, say('assistant')], [{ role: 'system', content }, say('user'), say('assistant')]);
    for (let i = 0; i < 400; ++i) {
        const messages = random.below(2) === 0 ? [say('system', true)] : [];
        for (let turns = random.below(6) + 1; turns > 0; --turns) {
            for (let n = alternates ? 1 : random.below(2) + 1; n > 0; --n) messages.push(say('user', blankUsers));
            for (let n = alternates ? 1 : random.below(2) + 1; n > 0; --n) messages.push(say('assistant'));
        }
        // Some end in a question that no one answers.
        if (random.below(5) === 0) messages.push(say('user', blankUsers));
        all.push(messages);
    }
    return all;
}

/// No content spells anything that a tokenizer takes for a special token.
export const isPlain = (messages) => messages.every(({ content }) => !/[<[]/.test(content));

const alternating = "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}";

export const published = {
    // meta-llama/Llama-2-7b-chat-hf, tokenizer_config.json; with `none` where it has `false`, which equals an empty text
    // in an engine in JavaScript.
    llama2:
        "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% set system_message = none %}{% endif %}" +
        `{% for message in loop_messages %}${alternating}{% if loop.index0 == 0 and system_message is not none %}{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}{% else %}{% set content = message['content'] %}{% endif %}` +
        "{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}",
    // microsoft/Phi-3-mini-4k-instruct, tokenizer_config.json.
    phi:
        "{% for message in messages %}{% if message['role'] == 'system' %}{{'<|system|>\\n' + message['content'] + '<|end|>\\n'}}{% elif message['role'] == 'user' %}{{'<|user|>\\n' + message['content'] + '<|end|>\\n'}}" +
        "{% elif message['role'] == 'assistant' %}{{'<|assistant|>\\n' + message['content'] + '<|end|>\\n'}}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% else %}{{ eos_token }}{% endif %}",
    // HuggingFaceH4/zephyr-7b-beta, tokenizer_config.json.
    zephyr:
        "{% for message in messages %}\n{% if message['role'] == 'user' %}\n{{ '<|user|>\\n' + message['content'] + eos_token }}\n{% elif message['role'] == 'system' %}\n{{ '<|system|>\\n' + message['content'] + eos_token }}\n" +
        "{% elif message['role'] == 'assistant' %}\n{{ '<|assistant|>\\n' + message['content'] + eos_token }}\n{% endif %}\n{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}",
    // lmsys/vicuna-7b-v1.5 has no template; FastChat writes its conversations so ("vicuna_v1.1": roles and a colon,
    // behind users a space, behind assistants the end token).
    vicuna:
        '{% if messages[0].role == "system" %}{% set words = messages[0].content %}{% set turns = messages[1:] %}{% else %}{% set turns = messages %}' +
        '{% set words = "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, and polite answers to the user\'s questions." %}{% endif %}' +
        '{{ words + " " }}{% for message in turns %}{{ message.role.upper() + ": " + message.content + (" " if message.role == "user" else eos_token) }}{% endfor %}{% if add_generation_prompt %}{{ "ASSISTANT:" }}{% endif %}',
    // Stanford's Alpaca has a prompt for one instruction ("prompt_no_input"; with the line break behind "Response:"
    // of alpaca-lora); further turns repeat its blocks behind the end token.
    alpaca:
        '{% if messages[0].role == "system" %}{% set words = messages[0].content %}{% set turns = messages[1:] %}{% else %}{% set turns = messages %}' +
        '{% set words = "Below is an instruction that describes a task. Write a response that appropriately completes the request." %}{% endif %}' +
        '{{ words }}{% for message in turns %}{% if message.role == "user" %}{{ "\\n\\n### Instruction:\\n" + message.content + "\\n\\n### Response:\\n" }}{% else %}{{ message.content + eos_token }}{% endif %}{% endfor %}',
};
