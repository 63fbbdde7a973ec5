//! Server-sent events, read from bytes as they arrive.
//!
//! **Invariant:** an event never holds more than [`EVENT_MAX`] bytes, however the bytes are cut.

/// The largest event, in bytes.
pub(super) const EVENT_MAX: usize = 4 << 20;

/// Joins bytes to events.
#[derive(Debug, Default)]
pub(super) struct Events {
    /// The line that is not yet whole.
    line: Vec<u8>,
    /// The `data` of the event that is not yet whole.
    data: Vec<u8>,
    has_data: bool,
    /// Whether the last byte was a carriage return, which a line feed may still belong to.
    returned: bool,
    begun: bool,
}

/// An event is larger than anybody needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLarge;

impl Events {
    /// Takes bytes in and gives the data of each event that they complete.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<Vec<Vec<u8>>, TooLarge> {
        let mut events = Vec::new();
        for byte in bytes {
            let ends_return = std::mem::replace(&mut self.returned, *byte == b'\r');
            match byte {
                b'\n' if ends_return => {}
                b'\n' | b'\r' => events.extend(self.line_ended()),
                byte => self.line.push(*byte),
            }
            if self.line.len() + self.data.len() > EVENT_MAX {
                return Err(TooLarge);
            }
        }
        Ok(events)
    }

    /// Gives the data of an event that the stream's end completes: some servers leave the last empty line
    /// out.
    pub(super) fn finish(mut self) -> Option<Vec<u8>> {
        if !self.line.is_empty() {
            self.line_ended();
        }
        self.has_data.then_some(self.data)
    }

    fn line_ended(&mut self) -> Option<Vec<u8>> {
        let mut line = std::mem::take(&mut self.line);
        if !std::mem::replace(&mut self.begun, true) && line.starts_with("\u{feff}".as_bytes()) {
            line.drain(..3);
        }
        if line.is_empty() {
            return std::mem::take(&mut self.has_data).then(|| std::mem::take(&mut self.data));
        }
        let (field, value) = match line.iter().position(|byte| *byte == b':') {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line.as_slice(), [].as_slice()),
        };
        if field == b"data" {
            if std::mem::replace(&mut self.has_data, true) {
                self.data.push(b'\n');
            }
            self.data.extend_from_slice(value.strip_prefix(b" ").unwrap_or(value));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(pieces: &[&[u8]]) -> Vec<String> {
        let mut events = Events::default();
        let mut found: Vec<Vec<u8>> = pieces.iter().flat_map(|piece| events.push(piece).unwrap()).collect();
        found.extend(events.finish());
        found.into_iter().map(|event| String::from_utf8(event).unwrap()).collect()
    }

    const STREAM: &str = "\u{feff}: hello\n\ndata: {\"a\":1}\n\nevent: x\r\ndata:b\r\ndata:  c\r\n\r\nid: 7\rdata\r\rdata: [DONE]";

    #[test]
    fn events_are_read_with_every_kind_of_line_end() {
        assert_eq!(read(&[STREAM.as_bytes()]), ["{\"a\":1}", "b\n c", "", "[DONE]"]);
    }

    #[test]
    fn an_event_without_an_end_is_refused() {
        let mut events = Events::default();
        assert_eq!(events.push(&vec![b'x'; EVENT_MAX + 1]), Err(TooLarge));
    }

    proptest! {
        #[test]
        fn it_does_not_matter_how_the_bytes_are_cut(cuts in prop::collection::vec(0..STREAM.len(), 0..20)) {
            let mut cuts = cuts;
            cuts.sort_unstable();
            cuts.insert(0, 0);
            cuts.push(STREAM.len());
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &STREAM.as_bytes()[cut[0]..cut[1]]).collect();
            prop_assert_eq!(read(&pieces), read(&[STREAM.as_bytes()]));
        }
    }
}
