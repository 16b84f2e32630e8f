/* Linked in place of mypyc's own function (ld --wrap): data[8:0] is empty and no SystemError, as in the interpreter. */
#include <Python.h>
#include "CPy.h"

PyObject *__real_CPyBytes_GetSlice(PyObject *obj, CPyTagged start, CPyTagged end);

static Py_ssize_t place(CPyTagged index, Py_ssize_t length)
{
    Py_ssize_t at = CPyTagged_ShortAsSsize_t(index);
    if (at < 0)
        at += length;
    return at < 0 ? 0 : at > length ? length : at;
}

PyObject *__wrap_CPyBytes_GetSlice(PyObject *obj, CPyTagged start, CPyTagged end)
{
    if (PyBytes_Check(obj) && CPyTagged_CheckShort(start) && CPyTagged_CheckShort(end)) {
        Py_ssize_t length = PyBytes_GET_SIZE(obj), from = place(start, length), to = place(end, length);
        return PyBytes_FromStringAndSize(PyBytes_AS_STRING(obj) + from, to > from ? to - from : 0);
    }
    return __real_CPyBytes_GetSlice(obj, start, end);
}
