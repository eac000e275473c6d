//! A model of a few hundred KiB, made here: what tests ask needs no download, and its answers are known.
//!
//! It is a transformer of the llama kind whose tokens are bytes. After a printable byte it says the next greater one, `bcd` after `a`, as far
//! as `{|é}~`, and then it has said all. What came before moves the odds a little, as attention does, so that at a temperature
//! above 0 the answer depends on the whole prompt and on the seed.
//!
//! The same with [`EXPERTS`] in the place of the layer behind attention is 12 GiB, almost all of it zeros of which nothing is written: what is
//! asked of it looks at one of them, as a large model of this kind does.

/// Tokens: three that are no bytes, and the bytes.
const SPECIAL: usize = 3;
const TOKENS: usize = SPECIAL + 256;
const END: usize = 2;
/// Numbers that stand for a token.
const WIDTH: usize = 64;
const HEADS: usize = 4;
/// Of the layer behind attention.
const INNER: usize = 128;
/// Experts of the vast one, and of each what `INNER` is of the toy: 24 MiB.
const EXPERTS: usize = 512;
const EXPERTS_INNER: usize = 32_768;
/// Most tokens of prompt and answer.
const CONTEXT: u32 = 4096;
/// How much likelier the byte that follows is than any other.
const SURE: f32 = 0.06;
/// How much what came before counts.
const BEFORE: f32 = 0.04;

/// Bytes that each tensor's place is a multiple of (`general.alignment`, GGUF).
const ALIGNED: usize = 32;
/// Version of the form of the file.
const VERSION: u32 = 3;

/// What a value is, in GGUF.
#[derive(Clone, Copy)]
#[repr(u32)]
enum Of {
    U32 = 4,
    I32 = 5,
    F32 = 6,
    Bool = 7,
    Text = 8,
    List = 9,
}

/// Named values and tensors, as they are collected.
#[derive(Default)]
struct File {
    values: Vec<u8>,
    value_count: u64,
    tensors: Vec<u8>,
    tensor_count: u64,
    data: Vec<u8>,
    /// Bytes behind the data that nobody writes.
    zeros: u64,
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

impl File {
    fn value(&mut self, name: &str, of: Of, bytes: &[u8]) {
        text(&mut self.values, name);
        self.values.extend((of as u32).to_le_bytes());
        self.values.extend(bytes);
        self.value_count += 1;
    }

    fn number(&mut self, name: &str, number: u32) {
        self.value(name, Of::U32, &number.to_le_bytes());
    }

    fn word(&mut self, name: &str, word: &str) {
        let mut bytes = Vec::new();
        text(&mut bytes, word);
        self.value(name, Of::Text, &bytes);
    }

    fn list(&mut self, name: &str, of: Of, count: usize, items: &[u8]) {
        let mut bytes = (of as u32).to_le_bytes().to_vec();
        bytes.extend((count as u64).to_le_bytes());
        bytes.extend(items);
        self.value(name, Of::List, &bytes);
    }

    /// A tensor of `f32` (kind 0), its rows one after the other.
    fn tensor(&mut self, name: &str, shape: &[usize], numbers: &[f32]) {
        assert_eq!(shape.iter().product::<usize>(), numbers.len(), "{name}");
        self.place(name, shape);
        self.data
            .extend(numbers.iter().flat_map(|it| it.to_le_bytes()));
        self.data
            .resize(self.data.len().next_multiple_of(ALIGNED), 0);
    }

    /// The same of zeros, behind all that have numbers.
    fn zeros(&mut self, name: &str, shape: &[usize]) {
        self.place(name, shape);
        self.zeros += (shape.iter().product::<usize>() * size_of::<f32>()) as u64;
    }

    /// Where the next tensor is.
    fn place(&mut self, name: &str, shape: &[usize]) {
        text(&mut self.tensors, name);
        self.tensors.extend((shape.len() as u32).to_le_bytes());
        for side in shape {
            self.tensors.extend((*side as u64).to_le_bytes());
        }
        self.tensors.extend(0u32.to_le_bytes());
        let at = self.data.len() as u64 + self.zeros;
        self.tensors.extend(at.to_le_bytes());
        self.tensor_count += 1;
    }

    /// All but the zeros at its end.
    fn bytes(self) -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend(VERSION.to_le_bytes());
        out.extend(self.tensor_count.to_le_bytes());
        out.extend(self.value_count.to_le_bytes());
        out.extend(self.values);
        out.extend(self.tensors);
        out.resize(out.len().next_multiple_of(ALIGNED), 0);
        out.extend(self.data);
        out
    }
}

/// Numbers that are the same each time (xorshift64, Marsaglia 2003).
struct Same(u64);

impl Same {
    /// 1 or -1.
    fn sign(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        if self.0 >> 63 == 0 { 1.0 } else { -1.0 }
    }

    fn signs(&mut self, count: usize, times: f32) -> Vec<f32> {
        (0..count).map(|_| self.sign() * times).collect()
    }
}

/// The token that follows.
fn follows(token: usize) -> usize {
    let byte = |byte: u8| SPECIAL + usize::from(byte);
    let Some(this) = token.checked_sub(SPECIAL) else {
        return byte(b'a');
    };
    match this as u8 {
        // "é" in two bytes.
        b'|' => byte(0xc3),
        0xc3 => byte(0xa9),
        0xa9 => byte(b'}'),
        b'~' => END,
        this @ 0x20..=0x7d => byte(this + 1),
        _ => token,
    }
}

/// The file: the same bytes each time.
pub fn model() -> Vec<u8> {
    file(false).bytes()
}

/// The vast one: all but the zeros at its end, and how many bytes it has with them.
pub fn vast() -> (Vec<u8>, u64) {
    let file = file(true);
    let zeros = file.zeros;
    let bytes = file.bytes();
    let length = bytes.len() as u64 + zeros;
    (bytes, length)
}

fn file(is_vast: bool) -> File {
    let mut file = File::default();
    describe(&mut file, is_vast);
    tokens(&mut file);
    let mut same = Same(0x6261_7930);
    let words = same.signs(TOKENS * WIDTH, 1.0);
    let word = |token: usize| &words[token * WIDTH..(token + 1) * WIDTH];
    // Row by row: how much each token is like the one before it.
    let mut output = vec![0.0; TOKENS * WIDTH];
    for token in 0..TOKENS {
        let row = follows(token) * WIDTH;
        for (to, from) in output[row..row + WIDTH].iter_mut().zip(word(token)) {
            *to += from * SURE;
        }
    }
    file.tensor("token_embd.weight", &[WIDTH, TOKENS], &words);
    file.tensor("output_norm.weight", &[WIDTH], &[1.0; WIDTH]);
    file.tensor("output.weight", &[WIDTH, TOKENS], &output);
    let square = [WIDTH, WIDTH];
    for (name, times) in [
        ("attn_q", 0.02),
        ("attn_k", 0.02),
        ("attn_v", 0.1),
        ("attn_output", BEFORE),
    ] {
        let name = format!("blk.0.{name}.weight");
        file.tensor(&name, &square, &same.signs(WIDTH * WIDTH, times));
    }
    for name in ["attn_norm", "ffn_norm"] {
        file.tensor(&format!("blk.0.{name}.weight"), &[WIDTH], &[1.0; WIDTH]);
    }
    if is_vast {
        file.tensor(
            "blk.0.ffn_gate_inp.weight",
            &[WIDTH, EXPERTS],
            &vec![0.0; WIDTH * EXPERTS],
        );
        let (there, back) = (
            [WIDTH, EXPERTS_INNER, EXPERTS],
            [EXPERTS_INNER, WIDTH, EXPERTS],
        );
        for (name, shape) in [("gate", there), ("down", back), ("up", there)] {
            file.zeros(&format!("blk.0.ffn_{name}_exps.weight"), &shape);
        }
        return file;
    }
    for (name, shape) in [
        ("gate", [WIDTH, INNER]),
        ("up", [WIDTH, INNER]),
        ("down", [INNER, WIDTH]),
    ] {
        let name = format!("blk.0.ffn_{name}.weight");
        file.tensor(&name, &shape, &same.signs(WIDTH * INNER, 0.005));
    }
    file
}

fn describe(file: &mut File, is_vast: bool) {
    file.word("general.architecture", "llama");
    file.word("general.name", "toy");
    file.number("general.alignment", ALIGNED as u32);
    file.number("llama.context_length", CONTEXT);
    file.number("llama.embedding_length", WIDTH as u32);
    file.number("llama.block_count", 1);
    let inner = if is_vast { EXPERTS_INNER } else { INNER };
    file.number("llama.feed_forward_length", inner as u32);
    if is_vast {
        file.number("llama.expert_count", EXPERTS as u32);
        file.number("llama.expert_used_count", 1);
    }
    file.number("llama.attention.head_count", HEADS as u32);
    file.number("llama.rope.dimension_count", (WIDTH / HEADS) as u32);
    file.number("llama.vocab_size", TOKENS as u32);
    // The mean of all places stands for a text.
    file.number("llama.pooling_type", 1);
    let small = 1e-5f32.to_le_bytes();
    file.value("llama.attention.layer_norm_rms_epsilon", Of::F32, &small);
}

fn tokens(file: &mut File) {
    let (mut names, mut kinds) = (Vec::new(), Vec::new());
    for (name, kind) in [("<unk>", 2i32), ("<s>", 3), ("</s>", 3)] {
        text(&mut names, name);
        kinds.extend(kind.to_le_bytes());
    }
    for byte in 0..=255u8 {
        // A space is written so, and is no byte.
        let (name, kind) = match byte {
            b' ' => ("\u{2581}".to_owned(), 1i32),
            _ => (format!("<0x{byte:02X}>"), 6),
        };
        text(&mut names, &name);
        kinds.extend(kind.to_le_bytes());
    }
    let scores = [0u8; TOKENS * 4];
    file.word("tokenizer.ggml.model", "llama");
    file.list("tokenizer.ggml.tokens", Of::Text, TOKENS, &names);
    file.list("tokenizer.ggml.scores", Of::F32, TOKENS, &scores);
    file.list("tokenizer.ggml.token_type", Of::I32, TOKENS, &kinds);
    file.number("tokenizer.ggml.unknown_token_id", 0);
    file.number("tokenizer.ggml.bos_token_id", 1);
    file.number("tokenizer.ggml.eos_token_id", END as u32);
    file.value("tokenizer.ggml.add_bos_token", Of::Bool, &[1]);
    file.value("tokenizer.ggml.add_space_prefix", Of::Bool, &[0]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a08_the_toy_model_is_small_and_the_same_each_time() {
        let model = model();
        assert_eq!(
            crate::stamp::sha256(&model),
            crate::stamp::sha256(&super::model())
        );
        assert!(
            (200 << 10..500 << 10).contains(&model.len()),
            "{}",
            model.len()
        );
        assert!(model.starts_with(b"GGUF\x03\0\0\0"));
    }

    #[test]
    fn a08_the_vast_model_is_12_gib_of_which_all_but_one_mib_is_zeros() {
        let (bytes, length) = vast();
        assert!((12 << 30..13 << 30).contains(&length), "{length}");
        assert!(bytes.len() < 1 << 20, "{}", bytes.len());
    }
}
