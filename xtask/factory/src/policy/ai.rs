//! What a room may ask the organ `sys://ai`: the fields in `ai`, and the room that answers.

use bay0_persona::PersonaName;
use bay0_persona::policy::ORGAN;

use super::file::{Policy, Reader};
use super::spelled::Asks;
use super::terms;

/// What a room may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ai {
    /// Tokens a minute, prompt and answer together.
    pub tokens_per_minute: u64,
    /// Tokens of one answer.
    pub max_tokens: u64,
    /// Tokens of one question and its answer together.
    pub context: u64,
}

impl Reader<'_> {
    /// Nothing without `tokens_per_minute`, and then the other two say nothing.
    pub fn ai(&mut self, raw: Asks) -> Option<Ai> {
        if raw.tokens_per_minute.is_some() {
            let max_at = raw.max_tokens.as_ref().map(|value| value.span().start);
            let context = terms::ORDINARY_AI_CONTEXT;
            let context = self.number("ai.context", raw.context, terms::AI_CONTEXT, Some(context));
            let (most, rate) = (terms::AI_MAX, terms::AI_RATE);
            let ordinary = terms::ORDINARY_AI_MAX.min(context);
            let ai = Ai {
                tokens_per_minute: self.number(
                    "ai.tokens_per_minute",
                    raw.tokens_per_minute,
                    rate,
                    None,
                ),
                max_tokens: self.number("ai.max_tokens", raw.max_tokens, most, Some(ordinary)),
                context,
            };
            self.room_for_prompt(ai, max_at);
            return Some(ai);
        }
        let most = raw.max_tokens.map(|most| most.span().start);
        let context = raw.context.map(|context| context.span().start);
        let known = !self.refused("ai.tokens_per_minute");
        for (field, at) in [("max_tokens", most), ("context", context)] {
            if known && at.is_some() {
                let what = format!("ai.{field} has no use in a room that may not ask");
                let next = "remove it, or set ai.tokens_per_minute";
                self.found(at, format!("{what}; next: {next}"));
            }
        }
        None
    }

    /// A context that was refused is 0, and no second finding.
    fn room_for_prompt(&mut self, ai: Ai, at: Option<usize>) {
        if ai.max_tokens > ai.context && ai.context > 0 {
            let (most, context) = (ai.max_tokens, ai.context);
            let what = format!(
                "ai.max_tokens is {most}, and ai.context, which holds question and answer, is {context}"
            );
            let next = "lower ai.max_tokens, or raise ai.context";
            self.found(at, format!("{what}; next: {next}"));
        }
    }
}

/// A room of a person that answers would read what other rooms ask, past the courier.
const ANSWERS: &str = "devices has organ, which only a room of sys:// has: it reads what all others ask; next: remove it";

/// Who cannot answer, and who cannot ask: the room that answers.
pub fn ends(name: &PersonaName, policy: &Policy) -> Vec<String> {
    let mut told = Vec::new();
    let answers = policy.grant.devices & ORGAN != 0;
    if answers && !name.is_system() {
        told.push(ANSWERS.to_owned());
    }
    if policy.grant.ai.is_some() && (answers || name.to_string() == terms::ORGAN) {
        let what =
            format!("ai is in the policy of {name}, which answers the others and asks nobody");
        told.push(format!("{what}; next: remove it"));
    }
    told
}
