//! A policy file as it is spelled, and the taking out of what was refused.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The file as it is spelled. What has to be there is asked for afterwards, so that one missing field does not hide the next.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Raw {
    pub image: Option<Spanned<String>>,
    pub command: Option<Spanned<Vec<Spanned<String>>>>,
    pub environment: Option<Spanned<BTreeMap<Spanned<String>, Spanned<String>>>>,
    #[serde(default)]
    pub cpu: Cpu,
    #[serde(default)]
    pub memory: Memory,
    pub pids: Option<Spanned<i64>>,
    pub open_files: Option<Spanned<i64>>,
    pub tmpfs: Option<Spanned<String>>,
    pub seccomp: Option<Spanned<String>>,
    #[serde(default)]
    pub capabilities: Vec<Spanned<String>>,
    pub network: Option<Spanned<String>>,
    #[serde(default)]
    pub publish: Vec<Spanned<String>>,
    pub egress: Option<Spanned<Vec<Spanned<String>>>>,
    #[serde(default)]
    pub traffic: Flow,
    #[serde(default)]
    pub disk: Disk,
    #[serde(default)]
    pub devices: Vec<Spanned<String>>,
    #[serde(default)]
    pub terminal: bool,
    pub exit: Option<Spanned<String>>,
    #[serde(default)]
    pub autostart: bool,
    #[serde(default)]
    pub restart: Again,
    #[serde(default)]
    pub persist: Keeps,
    pub background: Option<Spanned<String>>,
    pub trust: Option<Spanned<i64>>,
    #[serde(default)]
    pub courier: Moves,
    #[serde(default)]
    pub ai: Asks,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table with quota and weight")]
pub struct Cpu {
    pub quota: Option<Spanned<i64>>,
    pub weight: Option<Spanned<i64>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table with max")]
pub struct Memory {
    pub max: Option<Spanned<String>>,
}

#[derive(Default, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a table with when, tries and delay_ms"
)]
pub struct Again {
    pub when: Option<Spanned<String>>,
    pub tries: Option<Spanned<i64>>,
    pub delay_ms: Option<Spanned<i64>>,
}

#[derive(Default, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a table with bytes, records and rate"
)]
pub struct Keeps {
    pub bytes: Option<Spanned<String>>,
    pub records: Option<Spanned<i64>>,
    pub rate: Option<Spanned<String>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table with rate and connections")]
pub struct Flow {
    pub rate: Option<Spanned<String>>,
    pub connections: Option<Spanned<i64>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table with read")]
pub struct Disk {
    pub read: Option<Spanned<String>>,
}

#[derive(Default, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a table with to, from, bytes, types and ask"
)]
pub struct Moves {
    #[serde(default)]
    pub to: Vec<Spanned<String>>,
    #[serde(default)]
    pub from: Vec<Spanned<String>>,
    pub bytes: Option<Spanned<String>>,
    pub types: Option<Spanned<Vec<Spanned<String>>>>,
    pub ask: Option<Spanned<bool>>,
}

#[derive(Default, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a table with tokens_per_minute, max_tokens and context"
)]
pub struct Asks {
    pub tokens_per_minute: Option<Spanned<i64>>,
    pub max_tokens: Option<Spanned<i64>>,
    pub context: Option<Spanned<i64>>,
}

/// Takes the innermost entry that `at` lies in out of the table; its name.
pub fn cut(table: &mut DeTable<'_>, at: usize) -> Option<String> {
    let inside = table
        .iter_mut()
        .find_map(|(key, value)| match value.get_mut() {
            DeValue::Table(inner) => Some(format!("{}.{}", key.get_ref(), cut(inner, at)?)),
            _ => None,
        });
    if inside.is_some() {
        return inside;
    }
    let covers = |span: Range<usize>| span.contains(&at);
    let mut entries = table.iter();
    let (key, _) = entries.find(|(key, value)| covers(key.span()) || covers(value.span()))?;
    let key = key.clone();
    table.remove(&key);
    Some(key.get_ref().to_string())
}
