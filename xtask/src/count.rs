//! Code lines (decision 15): a line counts when a token of code stands on it. Blank lines, comments, doc comments and everything under
//! `#[cfg(test)]` do not; neither do `tests.rs` files and `tests` folders. Counted on tokens, not text, so that neither formatting nor a
//! comment sign in a string can cheat.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use proc_macro2::{Delimiter, Span, TokenStream, TokenTree};

/// Items of these kinds end with a semicolon even when braces come first.
const END_WITH_SEMICOLON: [&str; 5] = ["use", "const", "static", "type", "let"];

/// Code lines below a folder of sources.
pub fn folder(dir: &Path) -> Result<usize> {
    let mut lines = 0;
    for entry in fs::read_dir(dir).with_context(|| format!("read {}", dir.display()))? {
        let path = entry?.path();
        let name = path
            .file_name()
            .and_then(|n| n.to_str())
            .unwrap_or_default();
        if path.is_dir() && name != "tests" {
            lines += folder(&path)?;
        } else if name.ends_with(".rs") && name != "tests.rs" {
            let text =
                fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
            lines += source(&text).with_context(|| format!("count {}", path.display()))?;
        }
    }
    Ok(lines)
}

/// Code lines of one source text.
pub fn source(text: &str) -> Result<usize> {
    let tokens: TokenStream = text.parse().map_err(|e| anyhow!("not Rust: {e}"))?;
    let mut lines = BTreeSet::new();
    mark(tokens, &mut lines);
    Ok(lines.len())
}

fn mark(tokens: TokenStream, lines: &mut BTreeSet<usize>) {
    let mut rest = tokens.into_iter().peekable();
    while let Some(token) = rest.next() {
        if is_punct(&token, '#') {
            let inner = rest.next_if(|t| is_punct(t, '!'));
            match rest.peek().and_then(attribute) {
                Some(Attribute::Doc) => {
                    rest.next();
                    continue;
                }
                Some(Attribute::Test) => {
                    rest.next();
                    skip_item(&mut rest);
                    continue;
                }
                _ => lines.extend(inner.iter().flat_map(|t| span(t.span()))),
            }
        }
        match token {
            TokenTree::Group(group) => {
                lines.extend(span(group.span_open()).chain(span(group.span_close())));
                mark(group.stream(), lines);
            }
            other => lines.extend(span(other.span())),
        }
    }
}

enum Attribute {
    Doc,
    Test,
    Other,
}

fn attribute(token: &TokenTree) -> Option<Attribute> {
    let TokenTree::Group(group) = token else {
        return None;
    };
    if group.delimiter() != Delimiter::Bracket {
        return None;
    }
    // Written with one space where tokens must be apart, whatever the source looked like.
    let text = group.stream().to_string();
    Some(match text.replace(' ', "").as_str() {
        "cfg(test)" => Attribute::Test,
        other if other.starts_with("doc=") => Attribute::Doc,
        _ => Attribute::Other,
    })
}

fn skip_item(rest: &mut impl Iterator<Item = TokenTree>) {
    let mut until_semicolon = false;
    for token in rest {
        match &token {
            TokenTree::Punct(p) if p.as_char() == ';' => return,
            TokenTree::Group(g) if g.delimiter() == Delimiter::Brace && !until_semicolon => return,
            TokenTree::Ident(i) if END_WITH_SEMICOLON.iter().any(|k| i == k) => {
                until_semicolon = true
            }
            // `const fn` is a function after all.
            TokenTree::Ident(i) if i == "fn" => until_semicolon = false,
            _ => {}
        }
    }
}

fn is_punct(token: &TokenTree, sign: char) -> bool {
    matches!(token, TokenTree::Punct(p) if p.as_char() == sign)
}

fn span(span: Span) -> std::ops::RangeInclusive<usize> {
    span.start().line..=span.end().line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> usize {
        source(text).unwrap()
    }

    #[test]
    fn k04_blank_lines_comments_and_doc_comments_do_not_count() {
        assert_eq!(
            lines("//! Module.\n\n/* block\n   block */\n/// Doc.\n// plain\nfn f() {} // end\n"),
            1
        );
        assert_eq!(lines("#[doc = \"as an attribute\"]\nfn f() {}\n"), 1);
    }

    #[test]
    fn k04_every_line_with_code_counts_also_a_lone_brace_and_every_line_of_a_string() {
        assert_eq!(lines("fn f() {\n    g();\n}\n"), 3);
        assert_eq!(lines("const S: &str = \"a\n// not a comment\n\nb\";\n"), 4);
        assert_eq!(lines("#[inline]\nfn f() {}\n"), 2);
        assert_eq!(lines("#![allow(x)]\n"), 1);
    }

    #[test]
    fn k04_what_is_under_cfg_test_does_not_count_and_what_follows_does() {
        assert_eq!(
            lines("fn f() {}\n#[cfg(test)]\nmod tests {\n    fn t() {}\n}\nfn g() {}\n"),
            2
        );
        assert_eq!(lines("#[cfg(test)]\nmod tests;\nfn g() {}\n"), 1);
        assert_eq!(lines("#[cfg(test)]\nuse a::{\n  b,\n};\nfn g() {}\n"), 1);
        assert_eq!(
            lines("#[cfg(test)]\n#[allow(x)]\nconst fn t() {\n}\nfn g() {}\n"),
            1
        );
    }

    #[test]
    fn k04_other_cfg_is_code() {
        assert_eq!(lines("#[cfg(not(test))]\nfn f() {}\n"), 2);
        assert_eq!(lines("#[cfg(feature = \"fault\")]\nmod fault;\n"), 2);
    }

    #[test]
    fn k04_test_files_and_folders_do_not_count() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("name/tests")).unwrap();
        for file in [
            "lib.rs",
            "tests.rs",
            "name/tests.rs",
            "name/tests/a.rs",
            "name/sys.rs",
            "notes.txt",
        ] {
            fs::write(dir.path().join(file), "fn f() {}\n").unwrap();
        }
        assert_eq!(folder(dir.path()).unwrap(), 2);
    }
}
