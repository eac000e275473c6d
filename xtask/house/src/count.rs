//! Code lines (decision 15): a line counts when a token of code stands on it. Blank lines, comments, doc comments and everything under
//! `#[cfg(test)]` do not, nor what is compiled for plain hosts or for damage on demand alone. Counted on tokens, not text, so that neither formatting nor a
//! comment sign in a string can cheat.

use std::collections::BTreeSet;

use proc_macro2::{Delimiter, Span, TokenStream, TokenTree};

/// The numbers of the lines on which a token of code stands.
pub fn lines(tokens: TokenStream) -> BTreeSet<usize> {
    let mut lines = BTreeSet::new();
    mark(tokens, &mut lines);
    lines
}

fn mark(tokens: TokenStream, lines: &mut BTreeSet<usize>) {
    let mut rest = tokens.into_iter().peekable();
    while let Some(token) = rest.next() {
        if is_punct(&token, '#') {
            let inner = rest.next_if(|it| is_punct(it, '!'));
            if rest.next_if(is_doc).is_some() {
                continue;
            }
            lines.extend(inner.iter().flat_map(|it| span(it.span())));
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

/// Whether this is `[doc = "…"]`, which is what a doc comment is to the compiler.
fn is_doc(token: &TokenTree) -> bool {
    let TokenTree::Group(group) = token else {
        return false;
    };
    let first = group.stream().into_iter().next();
    group.delimiter() == Delimiter::Bracket
        && matches!(first, Some(TokenTree::Ident(it)) if it == "doc")
}

fn is_punct(token: &TokenTree, sign: char) -> bool {
    matches!(token, TokenTree::Punct(p) if p.as_char() == sign)
}

fn span(span: Span) -> std::ops::RangeInclusive<usize> {
    span.start().line..=span.end().line
}

#[cfg(test)]
mod tests {
    use crate::budget::sources;

    fn lines(text: &str) -> usize {
        sources::lines(&sources::compiled(text).unwrap()).len()
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
    fn k04_what_no_released_spine_has_compiled_in_does_not_count() {
        for feature in ["fault", "host", "podman"] {
            assert_eq!(
                lines(&format!(
                    "#[cfg(feature = \"{feature}\")]\nmod a;\nfn f() {{\n    #[cfg(feature = \"{feature}\")]\n    g();\n}}\n"
                )),
                2
            );
        }
        let arms = "fn f() {\n match 1 {\n#[cfg(feature = \"host\")]\n1 => a(),\n_ => b(),\n}\n}\n";
        assert_eq!(lines(arms), 5);
        let any = "#[cfg(any(test, feature = \"host\"))]\nfn f() {}\n";
        assert_eq!(lines(any), 0);
    }

    #[test]
    fn k04_other_cfg_is_code() {
        assert_eq!(lines("#[cfg(not(test))]\nfn f() {}\n"), 2);
        assert_eq!(lines("#[cfg(not(feature = \"host\"))]\nmod client;\n"), 2);
        assert_eq!(lines("#[cfg(any(test, unix))]\nfn f() {}\n"), 2);
        assert_eq!(lines("#[cfg(feature = \"other\")]\nmod other;\n"), 2);
    }
}
