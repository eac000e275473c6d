#!/bin/bash
# Expected: a text that goes out as the data of server-sent events comes back as it was: a line end begins a new `data` line, and the one space behind
# the colon that a reader takes off is there to be taken off (HTML Standard, 9.2.6). What async-sse and sse-codec send, each reads again.
# Happens: async-sse writes no space, so a text's own first space is taken for it; and both leave out a text's last line end.
# A model's tokens are just such texts: " words" and "\n" are tokens, and the words of its answer run together. Both read `retry` only without
# that space, which sse-codec itself writes; async-sse says seconds where milliseconds are meant. sse-stream writes and reads all of them.
# Matters for: the AI organ (docs/CONSTITUTION.md), whose answers go to other rooms token by token.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
mkdir src
cat > Cargo.toml <<'END'
[package]
name = "finding"
version = "0.0.0"
edition = "2021"

[dependencies]
async-sse = "=5.1.0"
sse-codec = "=0.3.3"
sse-stream = "=0.3.0"
bytes = "=1.11.0"
futures = "=0.3.31"
END
cat > src/main.rs <<'END'
use std::convert::Infallible;
use std::time::Duration;

use futures::executor::block_on;
use futures::io::{AsyncReadExt, Cursor};
use futures::{stream, SinkExt, StreamExt};

const TOKENS: [&str; 7] = ["Two", " words", ":", "\n", "\n\n", "", " end"];

// Each of the events that a reader is told, with its data.
fn by_sse_stream(sent: &[u8]) -> Vec<String> {
    let input = stream::iter([Ok::<_, Infallible>(bytes::Bytes::copy_from_slice(sent))]);
    block_on(sse_stream::SseByteStream::new(input).filter_map(|it| async { it.unwrap().data }).collect())
}

fn by_async_sse(sent: &[u8]) -> Vec<String> {
    block_on(async_sse::decode(Cursor::new(sent)).collect::<Vec<_>>())
        .into_iter()
        .map(|it| match it.unwrap() {
            async_sse::Event::Message(it) => String::from_utf8(it.into_bytes()).unwrap(),
            async_sse::Event::Retry(after) => format!("retry after {after:?}"),
        })
        .collect()
}

fn by_sse_codec(sent: &[u8]) -> Vec<String> {
    block_on(sse_codec::decode_stream(Cursor::new(sent)).collect::<Vec<_>>())
        .into_iter()
        .map(|it| match it.unwrap() {
            sse_codec::Event::Message { data, .. } => data,
            sse_codec::Event::Retry { retry } => format!("retry after {retry} ms"),
        })
        .collect()
}

fn with_async_sse() -> (Vec<u8>, Vec<u8>) {
    let gather = |retry: bool| {
        let (sender, mut encoder) = async_sse::encode();
        let mut sent = Vec::new();
        let send = async move {
            if retry {
                sender.send_retry(Duration::from_secs(3), None).await.unwrap();
            } else {
                for token in TOKENS {
                    sender.send(None, token, None).await.unwrap();
                }
            }
        };
        block_on(async { futures::join!(send, encoder.read_to_end(&mut sent)).1.unwrap() });
        sent
    };
    (gather(false), gather(true))
}

fn with_sse_codec() -> (Vec<u8>, Vec<u8>) {
    let gather = |events: Vec<sse_codec::Event>| {
        let mut sent = Vec::new();
        let mut sink = sse_codec::encode_stream(&mut sent);
        for event in events {
            block_on(sink.send(event)).unwrap();
        }
        drop(sink);
        sent
    };
    let tokens = TOKENS.iter().map(|token| sse_codec::Event::message("message", token, None)).collect();
    (gather(tokens), gather(vec![sse_codec::Event::retry(3000)]))
}

fn with_sse_stream() -> (Vec<u8>, Vec<u8>) {
    let tokens = TOKENS.iter().flat_map(|token| sse_stream::Sse::default().data(*token).encode().unwrap().to_vec()).collect();
    (tokens, sse_stream::Sse::default().retry(3000).encode().unwrap().to_vec())
}

fn main() {
    println!("tokens: {:?}", TOKENS.concat());
    for (name, (tokens, retry)) in [("async-sse", with_async_sse()), ("sse-codec", with_sse_codec()), ("sse-stream", with_sse_stream())] {
        println!("{name} sends, sse-stream reads {:?}", by_sse_stream(&tokens).concat());
        println!("    itself: {:?}", match name {
            "async-sse" => by_async_sse(&tokens).concat(),
            "sse-codec" => by_sse_codec(&tokens).concat(),
            _ => by_sse_stream(&tokens).concat(),
        });
        println!("    of 3 s: {:?}", String::from_utf8(retry).unwrap());
    }
    let usual = b"retry: 3000\n\n";
    println!("{:?}: async-sse {:?}, sse-codec {:?}", "retry: 3000", by_async_sse(usual), by_sse_codec(usual));
}
END
cargo build --quiet
echo "async-sse 5.1.0, sse-codec 0.3.3, sse-stream 0.3.0"
./target/debug/finding | tee read
cat > described <<'END'
tokens: "Two words:\n\n\n end"
async-sse sends, sse-stream reads "Twowords:\nend"
    itself: "Twowords:\nend"
    of 3 s: "retry:3\n\n"
sse-codec sends, sse-stream reads "Two words:\n end"
    itself: "Two words:\n end"
    of 3 s: "retry: 3000\n\n"
sse-stream sends, sse-stream reads "Two words:\n\n\n end"
    itself: "Two words:\n\n\n end"
    of 3 s: "retry: 3000\n\n"
"retry: 3000": async-sse [], sse-codec []
END
cmp -s read described
