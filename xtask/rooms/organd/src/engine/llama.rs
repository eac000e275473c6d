//! llama.cpp, by the few calls of `shim.cpp`.

use std::ffi::{CStr, CString, c_char};
use std::path::Path;

use bay0_umbilical::organ::Outcome;

use super::{Engine, Limits, Model, Out, Stopped};
use crate::frames::{Asked, Refusal};

/// Bytes of a reason.
const REASON: usize = 512;
/// Bytes of a token's text.
const TOKEN: usize = 4096;
/// Most numbers of an embedding.
const DIMENSIONS: usize = 65_536;

/// Tokens of prompt and answer together for which an empty context is kept ready: memory of the parent's, once, in the place of as much in
/// each child.
const READY: u32 = 2048;

/// `organ_end` of the shim.
const END: i32 = -1;
const LONG: i32 = -3;
const SCHEMA: i32 = -4;

/// `llama_model`.
#[repr(C)]
struct RawModel {
    _private: [u8; 0],
}

/// `organ_answer`.
#[repr(C)]
struct RawAnswer {
    _private: [u8; 0],
}

/// `organ_asked`.
#[repr(C)]
struct RawAsked {
    system: *const c_char,
    prompt: *const c_char,
    schema: *const c_char,
    temperature: f32,
    seed: u32,
    context: u32,
    threads: u32,
}

unsafe extern "C" {
    fn organ_load(path: *const c_char, why: *mut c_char, size: usize) -> *mut RawModel;
    fn organ_ready(model: *mut RawModel, tokens: u32, threads: u32);
    fn organ_context(model: *const RawModel) -> u32;
    fn organ_embeds(model: *const RawModel) -> u32;
    fn organ_begin(
        model: *mut RawModel,
        asked: *const RawAsked,
        embeds: u32,
        tokens: *mut u32,
        end: *mut i32,
        why: *mut c_char,
        size: usize,
    ) -> *mut RawAnswer;
    fn organ_next(answer: *mut RawAnswer, bytes: *mut u8, size: usize) -> i32;
    fn organ_embed(
        answer: *mut RawAnswer,
        model: *const RawModel,
        numbers: *mut f32,
        size: usize,
    ) -> i32;
}

/// A model that is mapped for as long as the process lives: no child ever gives it back.
pub struct Llama {
    raw: *mut RawModel,
    model: Model,
    threads: u32,
}

impl Llama {
    /// Maps a model; `threads` is how many an answer may have.
    ///
    /// # Errors
    /// `reason; next: action`.
    pub fn load(path: &Path, threads: u32) -> Result<Self, String> {
        let name = name(path);
        let shown = path.display();
        let c_path = CString::new(path.as_os_str().as_encoded_bytes());
        let c_path = c_path.map_err(|_| format!("{shown}: no path; next: report it"))?;
        let mut why = [0u8; REASON];
        // SAFETY: the path ends in a zero byte, and the shim writes at most REASON bytes of a reason.
        let raw = unsafe { organ_load(c_path.as_ptr(), why.as_mut_ptr().cast(), REASON) };
        if raw.is_null() {
            return Err(format!(
                "model {name}: {}; next: cargo xtask room build ai --model FILE with a whole one",
                reason(&why)
            ));
        }
        // SAFETY: the model is there and is never freed.
        let context = unsafe { organ_context(raw) };
        // SAFETY: likewise.
        unsafe { organ_ready(raw, context.min(READY), threads) };
        // SAFETY: likewise.
        let embeds = unsafe { organ_embeds(raw) } != 0;
        let model = Model {
            name,
            context,
            embeds,
        };
        Ok(Self {
            raw,
            model,
            threads,
        })
    }

    fn begin(&self, asked: &Asked, limits: Limits, embeds: bool) -> Result<Begun, Refusal> {
        // A zero byte would end a text there.
        let text = |text: &str, part| CString::new(text).map_err(|_| Refusal::Text(part));
        let system = text(&asked.system, "system text")?;
        let prompt = text(&asked.prompt, "prompt")?;
        let schema = text(&asked.schema, "schema")?;
        let raw = RawAsked {
            system: system.as_ptr(),
            prompt: prompt.as_ptr(),
            schema: schema.as_ptr(),
            temperature: asked.temperature,
            seed: asked.seed,
            context: limits.context,
            threads: self.threads,
        };
        let (mut tokens, mut end, mut why) = (0, 0, [0u8; REASON]);
        let to = why.as_mut_ptr().cast();
        let embeds = u32::from(embeds);
        // SAFETY: the texts end in zero bytes and outlive the call, which keeps none of them; the shim writes two numbers and at most
        // REASON bytes; the model is never freed.
        let answer =
            unsafe { organ_begin(self.raw, &raw, embeds, &mut tokens, &mut end, to, REASON) };
        if !answer.is_null() {
            return Ok(Begun { answer, tokens });
        }
        let context = limits.context;
        Err(match end {
            LONG => Refusal::Tokens { tokens, context },
            SCHEMA => Refusal::Schema(reason(&why)),
            _ => Refusal::Engine(reason(&why)),
        })
    }
}

/// An answer that has begun. It is never given back: its process ends with it.
struct Begun {
    answer: *mut RawAnswer,
    tokens: u32,
}

impl Engine for Llama {
    fn model(&self) -> &Model {
        &self.model
    }

    fn answer(&self, asked: &Asked, limits: Limits, out: &mut dyn Out) -> Result<Outcome, Stopped> {
        let begun = self.begin(asked, limits, false)?;
        out.prompt(begun.tokens);
        let most = limits.max.min(limits.context.saturating_sub(begun.tokens));
        let mut bytes = [0u8; TOKEN];
        for _ in 0..most {
            // SAFETY: the answer is there and used by this thread alone; the shim writes at most TOKEN bytes.
            let length = unsafe { organ_next(begun.answer, bytes.as_mut_ptr(), TOKEN) };
            if length == END {
                return Ok(Outcome::End);
            }
            let piece = usize::try_from(length).ok().and_then(|it| bytes.get(..it));
            out.token(piece.ok_or_else(fault)?)?;
        }
        Ok(Outcome::Length)
    }

    fn embed(&self, asked: &Asked, limits: Limits, out: &mut dyn Out) -> Result<Vec<f32>, Stopped> {
        let begun = self.begin(asked, limits, true)?;
        out.prompt(begun.tokens);
        let mut numbers = vec![0.0; DIMENSIONS];
        let to = numbers.as_mut_ptr();
        // SAFETY: answer and model are there and used by this thread alone; the shim writes at most DIMENSIONS numbers.
        let many = unsafe { organ_embed(begun.answer, self.raw, to, DIMENSIONS) };
        numbers.truncate(usize::try_from(many).map_err(|_| fault())?);
        Ok(numbers)
    }
}

fn fault() -> Refusal {
    Refusal::Engine("it could not go on".to_owned())
}

/// What the shim has written.
fn reason(why: &[u8]) -> String {
    let text = CStr::from_bytes_until_nul(why).unwrap_or_default();
    text.to_string_lossy().replace(['\n', '\r'], " ")
}

/// What a model is called: its file's name, of which only what a name may have is taken.
fn name(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    stem.chars()
        .filter(char::is_ascii_graphic)
        .take(64)
        .collect()
}
