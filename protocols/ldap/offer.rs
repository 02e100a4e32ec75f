//! The offer in the root DSE: a value of supportedExtension (RFC 4512 section 5.1).

use alloc::vec::Vec;

use super::STARTTLS;
use super::message::{Message, OCTET_STRING, SEQUENCE, tag};
use crate::Offer;
use crate::ber::{Element, element, elements};

/// A message of the server as the client shall hear it; `None` if that is how it came. Whether the server itself offers
/// STARTTLS goes to `offers`.
pub(super) fn edit(message: &Message<'_>, offer: Offer, offers: &mut bool) -> Option<Vec<u8>> {
    if message.op.tag != tag::SEARCH_ENTRY {
        return None;
    }
    let [name, attributes] = <[Element<'_>; 2]>::try_from(elements(message.op.contents)?).ok()?;
    if !name.contents.is_empty() {
        return None;
    }
    let (mut list, mut edited) = (Vec::new(), false);
    for attribute in elements(attributes.contents)? {
        let other = edit_attribute(&attribute, offer, offers);
        edited |= other.is_some();
        list.extend_from_slice(other.as_deref().unwrap_or(attribute.whole));
    }
    edited.then(|| message.with(&[name.whole, &element(attributes.tag, &list)].concat()))
}

fn edit_attribute(attribute: &Element<'_>, offer: Offer, offers: &mut bool) -> Option<Vec<u8>> {
    let [kind, values] = <[Element<'_>; 2]>::try_from(elements(attribute.contents)?).ok()?;
    if !NAMES.iter().any(|name| kind.contents.eq_ignore_ascii_case(name)) {
        return None;
    }
    let listed = elements(values.contents)?;
    let times = listed.iter().filter(|value| value.contents == STARTTLS).count();
    *offers |= times > 0;
    match offer {
        Offer::Leave => return None,
        // It is there; or only the names of attributes were asked for, and there are no values.
        Offer::Add if times == 1 || listed.is_empty() => return None,
        Offer::Remove if times == 0 => return None,
        Offer::Add | Offer::Remove => {}
    }
    let others = listed.iter().filter(|value| value.contents != STARTTLS).map(|value| value.whole);
    let mut list = others.collect::<Vec<_>>().concat();
    if offer == Offer::Add {
        list.extend(element(OCTET_STRING, STARTTLS));
    }
    // An attribute has a value, or is not there.
    let some = |list: Vec<u8>| element(SEQUENCE, &[kind.whole, &element(values.tag, &list)].concat());
    Some(if list.is_empty() { list } else { some(list) })
}

/// supportedExtension.
const NAMES: [&[u8]; 2] = [b"supportedExtension", b"1.3.6.1.4.1.1466.101.120.7"];
