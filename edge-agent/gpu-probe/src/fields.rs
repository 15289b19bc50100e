//! NVML's field values, with every type of value that the header has.
//!
//! The wrapper gives up on a value of type "signed int", and margins below zero have that type. So this one call is made on the
//! bindings, and is the only place of the probe that touches memory by hand.

// One call of C with a buffer of our own; the reason why it is sound stands beside it.
#![allow(unsafe_code)]

use nvml_wrapper::Device;
use nvml_wrapper_sys::bindings::{nvmlFieldValue_t, nvmlReturn_t};

const SUCCESS: nvmlReturn_t = 0;
const FUNCTION_NOT_FOUND: nvmlReturn_t = 13;
/// More fields than any call here asks for.
const MOST: usize = 64;

/// Reads these fields in one call of the driver: a value or a return code for each, or the return code of the whole call.
///
/// Blocks for as long as the driver does. Only fields below 251 may be asked for: the numbers above mean other fields in other drivers.
pub fn read(device: &Device<'_>, ids: &[u32]) -> Result<Vec<Result<i64, nvmlReturn_t>>, nvmlReturn_t> {
    debug_assert!(ids.len() <= MOST && ids.iter().all(|id| *id < 251));
    let Ok(call) = device.nvml().lib().nvmlDeviceGetFieldValues.as_ref() else {
        return Err(FUNCTION_NOT_FOUND);
    };
    let mut values: Vec<nvmlFieldValue_t> = ids
        .iter()
        .map(|id| {
            // SAFETY: the structure is plain numbers and a union of them, for all of which zero is a value.
            let mut value: nvmlFieldValue_t = unsafe { std::mem::zeroed() };
            value.fieldId = *id;
            value
        })
        .collect();
    let count = i32::try_from(values.len()).map_err(|_| FUNCTION_NOT_FOUND)?;
    // SAFETY: the device is open as long as its NVML is, and the library writes `count` structures, which is how many there are.
    let code = unsafe { call(device.handle(), count, values.as_mut_ptr()) };
    if code != SUCCESS {
        return Err(code);
    }
    Ok(values.iter().map(number).collect())
}

fn number(value: &nvmlFieldValue_t) -> Result<i64, nvmlReturn_t> {
    if value.nvmlReturn != SUCCESS {
        return Err(value.nvmlReturn);
    }
    // SAFETY: every member is a plain number, of which the tag says which one was written; the others were zero before.
    unsafe {
        Ok(match value.valueType {
            0 => value.value.dVal as i64,
            1 => i64::from(value.value.uiVal),
            2 => i64::try_from(value.value.ulVal).unwrap_or(i64::MAX),
            3 => i64::try_from(value.value.ullVal).unwrap_or(i64::MAX),
            4 => value.value.sllVal,
            5 => i64::from(value.value.siVal),
            6 => i64::from(value.value.usVal),
            _ => return Err(FUNCTION_NOT_FOUND),
        })
    }
}
