//! What an answer has taken so far, where parent and child both see it: a child has no descriptor to say it on, and may be stopped or
//! killed at any instant.

use std::num::NonZeroUsize;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use bay0_umbilical::organ::Outcome;
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap_anonymous, munmap};

/// Bytes of the mapping: a page.
const PAGE: NonZeroUsize = NonZeroUsize::new(4096).unwrap();

#[derive(Default)]
struct Numbers {
    prompt: AtomicU32,
    generated: AtomicU32,
    /// The place of an outcome among all, from 1; 0: none yet.
    outcome: AtomicU32,
}

/// A page that a parent shares with one child.
pub struct Tally(NonNull<Numbers>);

impl Tally {
    /// A new one, all zeros.
    ///
    /// # Errors
    /// Memory has run out.
    pub fn new() -> nix::Result<Self> {
        let (access, flags) = (
            ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
            MapFlags::MAP_SHARED,
        );
        // SAFETY: a new mapping that nothing else knows of, at an address of the kernel's choice.
        let page = unsafe { mmap_anonymous(None, PAGE, access, flags) }?;
        Ok(Self(page.cast()))
    }

    /// Once its child is there: no later child has it, so that none writes what is another's.
    ///
    /// # Errors
    /// The errno of `madvise(2)`.
    pub fn close(&self) -> nix::Result<()> {
        let (page, advice) = (self.0.cast(), MmapAdvise::MADV_DONTFORK);
        // SAFETY: the whole of our own mapping; the advice changes nothing that is read or written here.
        unsafe { madvise(page, PAGE.get(), advice) }
    }

    fn numbers(&self) -> &Numbers {
        // SAFETY: the mapping is at least as large and aligned, zeros are valid, it lives as long as self, and all fields are atomic.
        unsafe { self.0.as_ref() }
    }

    /// The prompt has so many tokens.
    pub fn prompt(&self, tokens: u32) {
        self.numbers().prompt.store(tokens, Ordering::Relaxed);
    }

    /// One more is generated.
    pub fn count(&self) {
        self.numbers().generated.fetch_add(1, Ordering::Relaxed);
    }

    /// The child's last word was said.
    pub fn end(&self, outcome: Outcome) {
        let place = Outcome::ALL.iter().position(|it| *it == outcome);
        let place = place.and_then(|it| u32::try_from(it).ok()).unwrap_or(0);
        let outcome = &self.numbers().outcome;
        outcome.store(place.saturating_add(1), Ordering::Relaxed);
    }

    /// Tokens of prompt and answer.
    pub fn tokens(&self) -> (u32, u32) {
        let numbers = self.numbers();
        let (prompt, generated) = (&numbers.prompt, &numbers.generated);
        (
            prompt.load(Ordering::Relaxed),
            generated.load(Ordering::Relaxed),
        )
    }

    /// How the child has ended it, if it has.
    pub fn outcome(&self) -> Option<Outcome> {
        let place = self.numbers().outcome.load(Ordering::Relaxed);
        let place = usize::try_from(place).ok()?.checked_sub(1)?;
        Outcome::ALL.get(place).copied()
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours alone, and no reference to it outlives self.
        let _ = unsafe { munmap(self.0.cast(), PAGE.get()) };
    }
}
