//! Slots for the blobs that are fetched from one upstream, and who is next. What a fill costs is bounded, so their number is
//! too; and a fill goes on when its clients have left, so that whoever asks for many has had their slots for as long as
//! the upstream takes. One source leaves some for others, and those that wait go round by source.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::shares::{Refused, Share, Shares, Source};

/// Fills of one upstream that may wait, some kilobytes each. One source may have three quarters of them.
const WAITING: usize = 1024;

/// The slots of one upstream.
pub(super) struct Slots {
    /// Slots of one source.
    own: usize,
    slots: Shares,
    waiting: Shares,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    /// Sources that wait, each once. Whoever has had a slot is last.
    round: VecDeque<Source>,
    /// What each of them waits for, never nothing.
    of: HashMap<Source, VecDeque<Ticket>>,
}

/// That a fill waits in the turn of one source.
struct Ticket {
    want: Want,
    _place: Share,
}

/// A fill that waits for a slot, in the turns of all sources that have asked for it: the first turn is its.
#[derive(Clone)]
pub(super) struct Want(Arc<Mutex<Option<oneshot::Sender<Slot>>>>);

/// The slot of a fill, once it has one. No longer wanted when this is dropped.
pub(super) struct Wanted {
    slots: Arc<Slots>,
    want: Want,
    slot: oneshot::Receiver<Slot>,
}

/// A slot that is held.
pub(super) struct Slot {
    slots: Arc<Slots>,
    source: Source,
    share: Option<Share>,
}

impl Slots {
    pub(super) fn new(slots: usize) -> Arc<Self> {
        let slots = slots.max(1);
        Arc::new(Self {
            own: (slots * 3 / 4).max(1),
            slots: Shares::new(slots),
            waiting: Shares::new(WAITING),
            queue: Mutex::default(),
        })
    }

    /// Begins to wait for a slot for what `source` asks for.
    ///
    /// # Errors
    /// Too many wait already, or too many of `source`.
    pub(super) fn want(self: &Arc<Self>, source: Source) -> Result<(Want, Wanted), Refused> {
        let (sender, slot) = oneshot::channel();
        let want = Want(Arc::new(Mutex::new(Some(sender))));
        let wanted = Wanted { slots: self.clone(), want: want.clone(), slot };
        self.join(source, &want)?;
        Ok((want, wanted))
    }

    /// Waits for the same in the turn of another source, too.
    ///
    /// # Errors
    /// Too many wait already, or too many of `source`; `want` goes on in the turns that it has.
    pub(super) fn join(self: &Arc<Self>, source: Source, want: &Want) -> Result<(), Refused> {
        let mut queue = self.queue();
        let waits = queue.of.get(&source).is_some_and(|of| of.iter().any(|ticket| ticket.want.is(want)));
        if want.is_over() || waits {
            return Ok(());
        }
        let place = self.waiting.take(source.clone())?;
        if !queue.of.contains_key(&source) {
            queue.round.push_back(source.clone());
        }
        queue.of.entry(source).or_default().push_back(Ticket { want: want.clone(), _place: place });
        drop(queue);
        self.serve();
        Ok(())
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives slots away for as long as there are some and somebody may have them.
    fn serve(self: &Arc<Self>) {
        // A slot that nobody takes is dropped without the lock, and serves again.
        while let Some((slot, to)) = self.next() {
            let _ = to.send(slot);
        }
    }

    fn next(self: &Arc<Self>) -> Option<(Slot, oneshot::Sender<Slot>)> {
        let mut queue = self.queue();
        let mut sources: Vec<Source> = queue.round.iter().cloned().collect();
        // The order among equals stays.
        sources.sort_by_cached_key(|source| self.slots.held_by(source));
        for source in sources {
            if self.slots.held_by(&source) >= self.own {
                continue;
            }
            let share = match self.slots.take(source.clone()) {
                Ok(share) => share,
                Err(Refused::All) => return None,
                Err(Refused::Own) => continue,
            };
            if let Some(to) = queue.call(&source) {
                return Some((Slot { slots: self.clone(), source, share: Some(share) }, to));
            }
        }
        None
    }

    #[cfg(test)]
    fn is_idle(&self) -> bool {
        let queue = self.queue();
        queue.round.is_empty() && queue.of.is_empty() && self.slots.is_idle() && self.waiting.is_idle()
    }
}

impl Queue {
    /// Whom to give the next slot of `source`, which is the last of the round then.
    fn call(&mut self, source: &Source) -> Option<oneshot::Sender<Slot>> {
        self.round.retain(|it| it != source);
        let mut tickets = self.of.remove(source)?;
        let mut to = None;
        while to.is_none()
            && let Some(ticket) = tickets.pop_front()
        {
            to = ticket.want.end();
        }
        if !tickets.is_empty() {
            self.of.insert(source.clone(), tickets);
            self.round.push_back(source.clone());
        }
        to
    }

    /// Whoever has come while it had a slot is before it.
    fn put_last(&mut self, source: &Source) {
        if let Some(place) = self.round.iter().position(|it| it == source)
            && let Some(source) = self.round.remove(place)
        {
            self.round.push_back(source);
        }
    }

    /// Takes what has ended out of all turns.
    fn forget(&mut self, want: &Want) {
        self.of.retain(|_, tickets| {
            tickets.retain(|ticket| !ticket.want.is(want));
            !tickets.is_empty()
        });
        let Self { round, of, .. } = self;
        round.retain(|source| of.contains_key(source));
    }
}

impl Want {
    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    fn is_over(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    fn end(&self) -> Option<oneshot::Sender<Slot>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Wanted {
    /// Waits for the slot; may be called again where it was not waited for to the end.
    pub(super) async fn slot(&mut self) -> Option<Slot> {
        (&mut self.slot).await.ok()
    }
}

impl Drop for Wanted {
    fn drop(&mut self) {
        self.want.end();
        self.slots.queue().forget(&self.want);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        {
            let mut queue = self.slots.queue();
            queue.put_last(&self.source);
            self.share = None;
        }
        self.slots.serve();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn network(n: u8) -> Source {
        Source::of_address(Some([192, 0, 2, n].into()))
    }

    fn want(slots: &Arc<Slots>, n: u8) -> Wanted {
        slots.want(network(n)).map(|(_, wanted)| wanted).unwrap_or_else(|_| panic!("no place"))
    }

    fn now(wanted: &mut Wanted) -> Option<Slot> {
        wanted.slot().now_or_never().flatten()
    }

    #[test]
    fn one_source_has_three_quarters_and_the_next_is_served() {
        for (all, own) in [(16, 12), (4, 3), (3, 2), (2, 1), (1, 1)] {
            let slots = Slots::new(all);
            let mut many: Vec<Wanted> = (0..40).map(|_| want(&slots, 1)).collect();
            let held: Vec<Slot> = many.iter_mut().filter_map(now).collect();
            assert_eq!(held.len(), own);
            let mut other = want(&slots, 2);
            let others = now(&mut other);
            assert_eq!(others.is_some(), all > 1);
            drop(held);
            assert!(others.is_some() || now(&mut other).is_some(), "it is next");
            drop((many, other, others));
            assert!(slots.is_idle());
        }
    }

    #[test]
    fn who_has_least_is_next_and_the_rest_go_round() {
        let slots = Slots::new(4);
        let mut first: Vec<Wanted> = (0..3).map(|_| want(&slots, 1)).collect();
        let mut held: Vec<Slot> = first.iter_mut().filter_map(now).collect();
        let mut full = want(&slots, 2);
        let full = now(&mut full).unwrap();
        let mut waiting: Vec<(u8, Wanted)> =
            [1, 1, 2, 3, 3, 4].into_iter().map(|n| (n, want(&slots, n))).collect();
        drop(full);
        let mut order = Vec::new();
        while let Some(place) = waiting.iter_mut().position(|(_, wanted)| {
            let slot = now(wanted);
            let is_served = slot.is_some();
            held.extend(slot);
            is_served
        }) {
            order.push(waiting.remove(place).0);
            held.remove(0);
        }
        assert_eq!(order, [3, 4, 2, 1, 3, 1]);
    }

    #[test]
    fn what_waits_is_bounded_and_what_is_given_up_leaves_its_place() {
        let slots = Slots::new(1);
        let mut first = want(&slots, 1);
        let held = now(&mut first).unwrap();
        let mut waiting: Vec<Wanted> = Vec::new();
        while let Ok((_, wanted)) = slots.want(network(1)) {
            waiting.push(wanted);
        }
        assert_eq!(waiting.len(), WAITING * 3 / 4);
        let mut other = want(&slots, 2);
        waiting.pop();
        assert!(slots.want(network(1)).is_ok(), "its place is free");
        drop(waiting);
        drop(held);
        assert!(now(&mut other).is_some());
        assert!(slots.is_idle());
    }

    #[test]
    fn what_another_source_wants_too_has_both_turns() {
        let slots = Slots::new(1);
        let mut first = want(&slots, 1);
        let held = now(&mut first).unwrap();
        let mut before: Vec<Wanted> = (0..5).map(|_| want(&slots, 1)).collect();
        let (joined, mut wanted) = slots.want(network(1)).unwrap_or_else(|_| panic!("no place"));
        for _ in 0..3 {
            slots.join(network(2), &joined).unwrap();
        }
        let mut third = want(&slots, 3);
        drop(held);
        let joint = now(&mut wanted);
        assert!(joint.is_some(), "in the turn of the second");
        drop(joint);
        let last = now(&mut third);
        assert!(last.is_some());
        drop(last);
        assert!(now(&mut before[0]).is_some());
        slots.join(network(4), &joined).unwrap();
        drop((before, wanted, third));
        assert!(slots.is_idle(), "nothing waits for what it has had");
    }
}
