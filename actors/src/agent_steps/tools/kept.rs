//! What is kept of text that may be endless: its beginning and its end.

use std::collections::VecDeque;

/// Text that is cut in the middle when it is too long.
#[derive(Debug)]
pub(super) struct Kept {
    head: String,
    head_max: usize,
    /// Pieces of the end, none empty.
    tail: VecDeque<String>,
    tail_bytes: usize,
    tail_max: usize,
    left_out: usize,
}

impl Kept {
    /// Keeps `max` bytes: as many of the beginning as of the end.
    pub(super) fn new(max: usize) -> Self {
        Self {
            head: String::new(),
            head_max: max / 2,
            tail: VecDeque::new(),
            tail_bytes: 0,
            tail_max: max - max / 2,
            left_out: 0,
        }
    }

    pub(super) fn push(&mut self, mut text: &str) {
        if self.tail.is_empty() {
            let (head, rest) = text.split_at(text.floor_char_boundary(self.head_max - self.head.len()));
            self.head.push_str(head);
            text = rest;
        }
        if text.is_empty() {
            return;
        }
        // Small pieces are put together, so that their number is bounded too.
        match self.tail.back_mut().filter(|last| last.len() + text.len() <= PIECE_BYTES) {
            Some(last) => last.push_str(text),
            None => self.tail.push_back(text.to_owned()),
        }
        self.tail_bytes += text.len();
        // Whole pieces go; the first that stays is cut when the text is asked for.
        while let Some(first) =
            self.tail.front().filter(|first| self.tail_bytes - first.len() >= self.tail_max)
        {
            self.tail_bytes -= first.len();
            self.left_out += first.len();
            self.tail.pop_front();
        }
    }

    /// How many bytes are left out.
    pub(super) fn left_out(&self) -> usize {
        self.left_out + self.tail_bytes.saturating_sub(self.tail_max)
    }

    /// All of it, or its beginning, a note, and its end.
    pub(super) fn text(self) -> String {
        let tail = String::from_iter(self.tail);
        let over = tail.len().saturating_sub(self.tail_max);
        if self.left_out + over == 0 {
            return self.head + &tail;
        }
        let end = &tail[tail.ceil_char_boundary(over)..];
        let left_out = self.left_out + (tail.len() - end.len());
        format!("{}\n[… {left_out} bytes are left out here …]\n{end}", self.head)
    }
}

/// Pieces of the end are put together up to this.
const PIECE_BYTES: usize = 4 << 10;

/// Makes text of bytes that come in pieces; what is no UTF-8 becomes `�`.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    /// The beginning of a character whose end is still to come.
    begun: Vec<u8>,
}

impl Decoder {
    pub(super) fn text(&mut self, piece: &[u8]) -> String {
        self.begun.extend_from_slice(piece);
        let bytes = std::mem::take(&mut self.begun);
        let end = bytes.len() - unfinished(&bytes);
        self.begun = bytes[end..].to_vec();
        String::from_utf8_lossy(&bytes[..end]).into_owned()
    }

    /// What is left when no piece comes any more.
    pub(super) fn rest(self) -> String {
        String::from_utf8_lossy(&self.begun).into_owned()
    }
}

/// How many bytes at the end are the beginning of a character.
fn unfinished(bytes: &[u8]) -> usize {
    let last = bytes.utf8_chunks().last();
    let invalid = last.map(|chunk| chunk.invalid()).unwrap_or_default();
    // Bytes that cannot become a character are told apart by what would have to follow.
    let needs = match invalid.first() {
        Some(0xC2..=0xDF) => 2,
        Some(0xE0..=0xEF) => 3,
        Some(0xF0..=0xF4) => 4,
        _ => 0,
    };
    if invalid.len() < needs && bytes.ends_with(invalid) { invalid.len() } else { 0 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_middle_is_left_out() {
        let mut kept = Kept::new(8);
        kept.push("abcdefgh");
        assert_eq!(kept.left_out(), 0);
        kept.push("ijk");
        assert_eq!(kept.left_out(), 3);
        assert_eq!(kept.text(), "abcd\n[… 3 bytes are left out here …]\nhijk");
    }

    proptest! {
        #[test]
        fn pieces_make_the_same_text_as_the_whole(
            bytes in prop::collection::vec(
                prop_oneof![any::<u8>(), Just(0xE2), Just(0x82), Just(0xAC)], 0..60,
            ),
            cuts in prop::collection::vec(0_usize..60, 0..6),
        ) {
            let mut decoder = Decoder::default();
            let mut text = String::new();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            for pair in cuts.windows(2) {
                text.push_str(&decoder.text(&bytes[pair[0]..pair[1]]));
            }
            text.push_str(&decoder.rest());
            prop_assert_eq!(text, String::from_utf8_lossy(&bytes));
        }

        #[test]
        fn what_is_kept_is_the_beginning_and_the_end(
            pieces in prop::collection::vec("[aé]{0,40}", 0..40), max in 0_usize..200,
        ) {
            let whole = pieces.concat();
            let mut kept = Kept::new(max);
            for piece in &pieces {
                kept.push(piece);
            }
            let is_whole = kept.left_out() == 0;
            let text = kept.text();
            if is_whole {
                prop_assert_eq!(text, whole);
            } else {
                let (head, rest) = text.split_once("\n[… ").unwrap();
                let (count, tail) = rest.split_once(" bytes are left out here …]\n").unwrap();
                prop_assert!(whole.starts_with(head) && whole.ends_with(tail));
                prop_assert_eq!(head.len() + tail.len() + count.parse::<usize>().unwrap(), whole.len());
                prop_assert!(head.len() + tail.len() <= max);
            }
        }
    }
}
