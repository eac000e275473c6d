//! Questions of rooms and answers of name servers, as sys://net's program reads them: the first part of the input is a question, the rest
//! an answer to it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use netd::dns::message::{Checked, MAX_QUERY, MAX_UDP, check, is_refusal};

fuzz_target!(|data: &[u8]| {
    let Some((&length, rest)) = data.split_first() else {
        return;
    };
    let (question, answer) = rest.split_at(rest.len().min(length.into()));
    let _ = is_refusal(answer);
    let query = match check(question) {
        Checked::Query(query) => query,
        // A header that says why.
        Checked::Answer(answer) => return assert_eq!(answer.len(), 12),
        Checked::Drop => return,
    };
    assert!(question.len() <= MAX_QUERY && (512..=MAX_UDP).contains(&query.limit));
    let id = query.id().wrapping_add(1);
    let sent = query.with_id(id);
    assert_eq!(sent[2..], question[2..]);
    assert!(!query.is_answer(id, &sent), "a question is no answer");
    // What the relay makes itself answers the question.
    assert!(query.is_answer(query.id(), &query.failure()));
    let taken = query.is_answer(id, answer);
    let passed = query.datagram(answer.to_vec());
    assert!(passed.len() <= query.limit || passed.len() <= question.len());
    if taken {
        assert!(query.is_answer(query.id(), &passed));
    }
});
