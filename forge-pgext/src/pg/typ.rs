//! What the catalog says about types and rows.

use pgrx::pg_sys::{self, Datum, Oid};
use std::ffi::{CStr, c_char};

/// How values of a type are stored.
#[derive(Debug, Clone, Copy)]
pub struct Storage {
    pub len: i16,
    pub byval: bool,
    pub align: c_char,
}

pub fn storage(of: Oid) -> Storage {
    let (mut len, mut byval, mut align) = (0i16, false, 0);
    unsafe { pg_sys::get_typlenbyvalalign(of, &mut len, &mut byval, &mut align) };
    Storage { len, byval, align }
}

/// `b`ase, `c`omposite, `d`omain, `e`num, `p`seudo, `r`ange, `m`ultirange.
pub fn kind(of: Oid) -> u8 {
    unsafe { pg_sys::get_typtype(of) as u8 }
}

/// Type of the elements of an array type.
pub fn element(of: Oid) -> Option<Oid> {
    let element = unsafe { pg_sys::get_element_type(of) };
    (element != Oid::INVALID).then_some(element)
}

/// What a domain is over, all domains between taken away.
pub fn base(of: Oid) -> Oid {
    unsafe { pg_sys::getBaseType(of) }
}

/// The relation that describes a composite type.
pub fn relation(of: Oid) -> Oid {
    unsafe { pg_sys::get_typ_typrelid(of) }
}

/// A type's name as people write it.
pub fn name(of: Oid) -> String {
    unsafe { super::json::string(pg_sys::format_type_be(of)) }
}

/// The function that casts a type to json, when somebody made one (hstore has).
pub fn json_cast(of: Oid) -> Option<Oid> {
    let mut function = Oid::INVALID;
    let path = unsafe {
        pg_sys::find_coercion_pathway(
            pg_sys::JSONOID,
            of,
            pg_sys::CoercionContext::COERCION_EXPLICIT,
            &mut function,
        )
    };
    (path == pg_sys::CoercionPathType::COERCION_PATH_FUNC && function != Oid::INVALID)
        .then_some(function)
}

/// Applies a cast to json, which answers text.
pub fn cast_to_json(function: Oid, value: Datum) -> String {
    unsafe {
        let json = pg_sys::OidFunctionCall1Coll(function, Oid::INVALID, value);
        text(json)
    }
}

/// A text or json value.
///
/// # Safety
/// `value` must be a non-null varlena of text.
pub unsafe fn text(value: Datum) -> String {
    unsafe {
        let packed = pg_sys::pg_detoast_datum_packed(value.cast_mut_ptr());
        let (data, len) = (
            pgrx::varlena::vardata_any(packed),
            pgrx::varlena::varsize_any_exhdr(packed),
        );
        let bytes = std::slice::from_raw_parts(data.cast::<u8>(), len);
        String::from_utf8_lossy(bytes).into_owned()
    }
}

/// The value in its type's own text form.
pub fn output(function: Oid, value: Datum) -> String {
    unsafe { super::json::string(pg_sys::OidOutputFunctionCall(function, value)) }
}

/// The output function of a type.
pub fn output_function(of: Oid) -> Oid {
    let (mut function, mut varlena) = (Oid::INVALID, false);
    unsafe { pg_sys::getTypeOutputInfo(of, &mut function, &mut varlena) };
    function
}

/// One column of a row type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    pub of: Oid,
    pub dropped: bool,
}

/// # Safety
/// `desc` must be a valid row description.
pub unsafe fn columns(desc: pg_sys::TupleDesc) -> Vec<Column> {
    unsafe {
        (0..(*desc).natts)
            .map(|i| {
                // SAFETY: version 18 keeps the attributes behind the compact ones, as its macro TupleDescAttr says.
                #[cfg(feature = "pg18")]
                let attribute = &*(*desc)
                    .compact_attrs
                    .as_ptr()
                    .add((*desc).natts as usize)
                    .cast::<pg_sys::FormData_pg_attribute>()
                    .add(i as usize);
                #[cfg(not(feature = "pg18"))]
                let attribute = &(*desc).attrs.as_slice((*desc).natts as usize)[i as usize];
                Column {
                    name: CStr::from_ptr(attribute.attname.data.as_ptr())
                        .to_string_lossy()
                        .into_owned(),
                    of: attribute.atttypid,
                    dropped: attribute.attisdropped,
                }
            })
            .collect()
    }
}

/// The row type of a composite type, or `None` when it has none.
pub fn columns_of(of: Oid, modifier: i32) -> Vec<Column> {
    unsafe {
        let desc = pg_sys::lookup_rowtype_tupdesc(of, modifier);
        let all = columns(desc);
        release(desc);
        all
    }
}

unsafe fn release(desc: pg_sys::TupleDesc) {
    unsafe {
        if (*desc).tdrefcount >= 0 {
            pg_sys::DecrTupleDescRefCount(desc);
        }
    }
}

/// A composite value taken apart.
pub struct Row {
    pub of: Oid,
    pub modifier: i32,
    pub values: Vec<Option<Datum>>,
}

/// # Safety
/// `value` must be a non-null composite value.
pub unsafe fn row(value: Datum) -> Row {
    unsafe {
        let header: pg_sys::HeapTupleHeader = pg_sys::pg_detoast_datum(value.cast_mut_ptr()).cast();
        let of = (*header).t_choice.t_datum.datum_typeid;
        let modifier = (*header).t_choice.t_datum.datum_typmod;
        let desc = pg_sys::lookup_rowtype_tupdesc(of, modifier);
        let mut tuple = pg_sys::HeapTupleData {
            t_len: pgrx::varlena::varsize(header.cast()) as u32,
            t_data: header,
            ..Default::default()
        };
        let n = (*desc).natts as usize;
        let mut values = vec![Datum::from(0usize); n];
        let mut nulls = vec![false; n];
        pg_sys::heap_deform_tuple(
            &raw mut tuple,
            desc,
            values.as_mut_ptr(),
            nulls.as_mut_ptr(),
        );
        release(desc);
        Row {
            of,
            modifier,
            values: values
                .into_iter()
                .zip(nulls)
                .map(|(v, null)| (!null).then_some(v))
                .collect(),
        }
    }
}

/// A composite value of a named type, from a value for every column, dropped ones included.
pub fn form_row(of: Oid, values: &[Option<Datum>]) -> Datum {
    unsafe {
        let desc = pg_sys::lookup_rowtype_tupdesc(of, -1);
        let mut datums: Vec<Datum> = values
            .iter()
            .map(|v| v.unwrap_or(Datum::from(0usize)))
            .collect();
        let mut nulls: Vec<bool> = values.iter().map(Option::is_none).collect();
        let tuple = pg_sys::heap_form_tuple(desc, datums.as_mut_ptr(), nulls.as_mut_ptr());
        let value = pg_sys::heap_copy_tuple_as_datum(tuple, desc);
        release(desc);
        value
    }
}

thread_local! {
    /// Description of a row of two texts, made once.
    static PAIR: std::cell::Cell<pg_sys::TupleDesc> = const { std::cell::Cell::new(std::ptr::null_mut()) };
}

/// A row of two texts, for a function declared with two OUT parameters.
pub fn text_pair(fcinfo: pg_sys::FunctionCallInfo, values: [Option<Datum>; 2]) -> Option<Datum> {
    unsafe {
        if PAIR.get().is_null() {
            let before = pg_sys::MemoryContextSwitchTo(pg_sys::TopMemoryContext);
            let mut desc: pg_sys::TupleDesc = std::ptr::null_mut();
            pg_sys::get_call_result_type(fcinfo, std::ptr::null_mut(), &mut desc);
            pg_sys::MemoryContextSwitchTo(before);
            if desc.is_null() {
                return None;
            }
            PAIR.set(pg_sys::BlessTupleDesc(desc));
        }
        let mut datums = values.map(|v| v.unwrap_or(Datum::from(0usize)));
        let mut nulls = values.map(|v| v.is_none());
        let tuple = pg_sys::heap_form_tuple(PAIR.get(), datums.as_mut_ptr(), nulls.as_mut_ptr());
        Some(pg_sys::HeapTupleHeaderGetDatum((*tuple).t_data))
    }
}

/// Elements of an array value, with the lengths of its dimensions.
pub struct Elements {
    pub dimensions: Vec<usize>,
    pub values: Vec<Option<Datum>>,
}

/// # Safety
/// `value` must be a non-null array of elements of this type.
pub unsafe fn elements(value: Datum, of: Oid, storage: Storage) -> Elements {
    unsafe {
        let array: *mut pg_sys::ArrayType = pg_sys::pg_detoast_datum(value.cast_mut_ptr()).cast();
        let ndim = (*array).ndim as usize;
        let dims = array
            .cast::<u8>()
            .add(size_of::<pg_sys::ArrayType>())
            .cast::<i32>();
        let dimensions = (0..ndim).map(|i| *dims.add(i) as usize).collect();
        let (mut values, mut nulls, mut count) = (std::ptr::null_mut(), std::ptr::null_mut(), 0);
        pg_sys::deconstruct_array(
            array,
            of,
            storage.len as _,
            storage.byval,
            storage.align,
            &mut values,
            &mut nulls,
            &mut count,
        );
        Elements {
            dimensions,
            values: (0..count as usize)
                .map(|i| (!*nulls.add(i)).then_some(*values.add(i)))
                .collect(),
        }
    }
}

/// An array value; `values` in row-major order.
pub fn form_array(
    of: Oid,
    storage: Storage,
    dimensions: &[i32],
    values: &[Option<Datum>],
) -> Datum {
    unsafe {
        if values.is_empty() {
            return Datum::from(pg_sys::construct_empty_array(of));
        }
        let mut datums: Vec<Datum> = values
            .iter()
            .map(|v| v.unwrap_or(Datum::from(0usize)))
            .collect();
        let mut nulls: Vec<bool> = values.iter().map(Option::is_none).collect();
        let mut lengths = dimensions.to_vec();
        let mut bounds = vec![1i32; dimensions.len()];
        Datum::from(pg_sys::construct_md_array(
            datums.as_mut_ptr(),
            nulls.as_mut_ptr(),
            dimensions.len() as i32,
            lengths.as_mut_ptr(),
            bounds.as_mut_ptr(),
            of,
            storage.len as _,
            storage.byval,
            storage.align,
        ))
    }
}

/// Raises unless the value is one of the domain's.
pub fn check_domain(value: Option<Datum>, domain: Oid) {
    unsafe {
        pg_sys::domain_check(
            value.unwrap_or(Datum::from(0usize)),
            value.is_none(),
            domain,
            std::ptr::null_mut(),
            std::ptr::null_mut(),
        );
    }
}
