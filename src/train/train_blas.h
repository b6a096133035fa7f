/* OpenBLAS, as this module uses it: from several threads of our own at once, each call on its
 * own thread only. openblas_set_num_threads(1) holds while anything trains (train_blas_begin()
 * .. train_blas_end(), counted; the setting is the process's, and is put back by the last one
 * out). So OpenBLAS's workers are never woken: none is left spinning for the 2^28 cycles that
 * they wait for more work (OPENBLAS_THREAD_TIMEOUT), results do not depend on their number, and
 * train_work.threads means what it says. Serving calls no BLAS at all. When the library is
 * loaded OpenBLAS starts a worker per core, which yield for a moment (measured: 15 ms in all)
 * and then sleep for good. Its blas_thread_shutdown_() would end them, but also those of a NumPy
 * in the same process, at work or not.
 *
 * LAPACK is declared here by its Fortran symbols, as Debian's OpenBLAS comes without lapacke.h.
 * The lengths of strings that Fortran passes behind the arguments are passed too. Column-major:
 * a symmetric matrix's "U" is our row-major lower half. */
#ifndef U2I_TRAIN_TRAIN_BLAS_H
#define U2I_TRAIN_TRAIN_BLAS_H

#include <cblas.h>
#include <stddef.h>

void train_blas_begin(void);
void train_blas_end(void);

void spotrf_(const char *uplo, const int *n, float *a, const int *lda, int *info, size_t uplo_len);
void spotri_(const char *uplo, const int *n, float *a, const int *lda, int *info, size_t uplo_len);
void dpotrf_(const char *uplo, const int *n, double *a, const int *lda, int *info, size_t uplo_len);
void dtrtri_(const char *uplo, const char *diag, const int *n, double *a, const int *lda, int *info,
             size_t uplo_len, size_t diag_len);
void dsyevd_(const char *jobz, const char *uplo, const int *n, double *a, const int *lda, double *w,
             double *work, const int *lwork, int *iwork, const int *liwork, int *info,
             size_t jobz_len, size_t uplo_len);

#endif
